"""PDF: the text layer where it reads, OCR page by page where there is none or it is garbled."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assets.documents.parts import Part, RawItem, Rejection, Unreadable

MAX_PAGES = 1000
MAX_OCR_PAGES = 60
DPI = 200
# A4 at 200 dpi is 3.9 million pixels; larger pages are rendered at less.
MAX_PIXELS = 8_000_000
MIN_CHARACTERS = 20
# Ligatures and dashes of TeX fonts without a Unicode map (Cork encoding, then OT1).
_LIGATURES = {
    0x1B: "ff",
    0x1C: "fi",
    0x1D: "fl",
    0x1E: "ffi",
    0x1F: "ffl",
    0x0B: "ff",
    0x0E: "ffi",
    0x0F: "ffl",
    0x15: "–",
    0x16: "—",
}
_HYPHEN = re.compile(r"(\w)[\u00ad\u2010\ufffe-]\n(?=[a-zà-ÿ])")


@dataclass(frozen=True)
class Page:
    """Text of one page, how it was got (``layer``, ``ocr``, ``blank``), and OCR's mean score."""

    text: str
    how: str
    score: float | None = None


def read_pdf(item: RawItem) -> Iterator[Part | Rejection]:
    """One part for the file, pages parted by empty lines; pages that gave nothing are only counted."""
    import pypdfium2 as pdfium

    try:
        document = pdfium.PdfDocument(item.path)
    except pdfium.PdfiumError as error:
        raise Unreadable("damaged", f"no PDF that can be opened: {error}") from error
    try:
        pages: list[Page] = []
        ocr_left = MAX_OCR_PAGES
        for number in range(min(len(document), MAX_PAGES)):
            try:
                page = _read_page(document[number], ocr_left > 0)
            except pdfium.PdfiumError as error:
                yield Rejection(f"page {number + 1}", "damaged", str(error))
                continue
            if page.how == "skipped":
                yield Rejection(
                    f"page {number + 1}", "too_many_pages", f"over {MAX_OCR_PAGES} pages need OCR"
                )
            ocr_left -= page.how == "ocr"
            pages.append(page)
        if len(document) > MAX_PAGES:
            yield Rejection(
                f"page {MAX_PAGES + 1}", "too_many_pages", f"{len(document)} pages, {MAX_PAGES} read"
            )
        title = document.get_metadata_value("Title").strip() or None
    finally:
        document.close()
    text = "\n\n".join(page.text for page in pages if page.text)
    if not text.strip():
        raise Unreadable("no_text", f"{len(pages)} pages, no text layer and none found by OCR")
    scores = [page.score for page in pages if page.score is not None]
    quality: dict[str, Any] = {"reader": "pdf", "pages": len(pages)}
    for how in ("layer", "ocr", "blank"):
        quality[f"pages_{how}"] = sum(page.how == how for page in pages)
    if scores:
        quality["ocr_score"] = round(sum(scores) / len(scores), 3)
    yield Part(text=text, title=title, quality=quality)


def _read_page(page: Any, may_ocr: bool) -> Page:
    layer = page.get_textpage().get_text_range().replace("\r\n", "\n").replace("\r", "\n")
    if not garbled(layer):
        layer = layer.translate(_LIGATURES)
    if len("".join(layer.split())) >= MIN_CHARACTERS and not garbled(layer):
        return Page(flow(layer), "layer")
    if not may_ocr:
        return Page("", "skipped")
    from assets.documents.readers.ocr import read_page_image

    width, height = page.get_size()
    scale = min(DPI / 72, (MAX_PIXELS / max(1.0, width * height)) ** 0.5)
    image = page.render(scale=scale).to_pil().convert("RGB")
    if max(high - low for low, high in image.getextrema()) < 8:
        return Page("", "blank")
    text, score = read_page_image(image)
    if len("".join(text.split())) < MIN_CHARACTERS:
        # A few words of a layer are better than nothing, and nothing is better than noise.
        kept = "" if garbled(layer) else layer.strip()
        return Page(kept, "layer" if kept else "blank")
    return Page(flow(text), "ocr", score)


def garbled(text: str) -> bool:
    """True where a text layer is no language: code points without a meaning, or hardly any letter.

    Fonts without a Unicode map give control characters, private-use code points or shifted symbols.
    """
    dense = "".join(text.split())
    if not dense:
        return False
    strange = sum(
        c < " " or c == "\ufffd" or "\x7f" <= c <= "\x9f" or "\ue000" <= c <= "\uf8ff" for c in dense
    )
    readable = sum(c.isalnum() for c in dense)
    return strange > 0.05 * len(dense) or readable < 0.4 * len(dense)


def flow(text: str) -> str:
    """Lines of a page to paragraphs: hyphenated words mended, lines joined until one ends short."""
    text = _HYPHEN.sub(r"\1", text)
    lines = [" ".join(line.split()) for line in text.split("\n")]
    # Dotted lines of contents are longer than the text, headings shorter: the middle of the long ones tells.
    full = statistics.median([n for n in map(len, lines) if n >= 30] or [80])
    paragraphs: list[str] = []
    open_line = False
    for line in lines:
        if not line:
            open_line = False
            continue
        if open_line:
            paragraphs[-1] += " " + line
        else:
            paragraphs.append(line)
        ended = line.endswith((".", "!", "?", ":"))
        open_line = len(line) >= (0.92 if ended else 0.75) * full
    return "\n\n".join(paragraphs)
