"""HTML pages: the main content without navigation, banners and footers (resiliparse)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assets.documents.clean import collapse_spaces
from assets.documents.encoding import read_text
from assets.documents.parts import Part, RawItem, Rejection, Unreadable

# Books as XHTML have no boilerplate to remove, and heuristics for web pages would cut their notes.
_BOOK = re.compile(r"http://www\.idpf\.org/2007/ops|epub:type=")
_SKIP = [
    "nav",
    "script",
    "style",
    "noscript",
    "template",
    ".mw-editsection",
    "sup.reference",
    "[role=navigation]",
]


def read_html(item: RawItem) -> Iterator[Part | Rejection]:
    """One part: title, language and text; Unreadable ``no_text`` for a page of boilerplate alone."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    source, encoding = read_text(item)
    # An XML declaration inside an HTML tree would be read as a comment of its own.
    source = re.sub(r"\A\s*<\?xml[^>]*\?>", "", source)
    tree = HTMLTree.parse(source)
    book = bool(_BOOK.search(source[:4096]))
    root = tree.document.query_selector("html") if tree.document is not None else None
    language = (root.getattr("lang") or root.getattr("xml:lang")) if root is not None else None
    text = extract_plain_text(
        tree, main_content=not book, alt_texts=False, preserve_formatting=True, skip_elements=_SKIP
    )
    text = collapse_spaces(_unindent(text))
    if not text.strip():
        raise Unreadable("no_text", "no main content was found in the page")
    everything = len(extract_plain_text(tree, main_content=False, alt_texts=False))
    yield Part(
        text=text,
        title=" ".join(tree.title.split()) if tree.title else None,
        language=language or None,
        quality={
            "reader": "html",
            "encoding": encoding,
            "main_content_share": round(len(text) / max(1, everything), 4),
        },
    )


def _unindent(text: str) -> str:
    return "\n".join(
        line.strip() if not line.lstrip().startswith(("*", "-")) else line.rstrip()
        for line in text.split("\n")
    )
