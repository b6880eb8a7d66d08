"""Pages around the sample's texts: HTML, JATS, and PDF with and without a text layer."""

from __future__ import annotations

import zlib
from html import escape
from typing import Any

from PIL import Image, ImageDraw, ImageFont

NAVIGATION = """<nav class="menu"><ul><li><a href="/">Home</a></li><li><a href="/news">News</a></li>
<li><a href="/shop">Shop</a></li><li><a href="/login">Sign in</a></li></ul></nav>
<div id="cookie-banner" role="dialog"><p>We use cookies to improve your experience. By clicking accept you
agree to the storing of cookies on your device.</p><button>Accept all</button><button>Reject</button></div>"""
FOOTER = """<aside class="related"><h3>You may also like</h3><ul>
<li><a href="/1">Ten facts about moss</a></li>
<li><a href="/2">Our newsletter archive</a></li></ul></aside>
<footer><p>Subscribe to our newsletter. Follow us. Terms of use. Privacy policy.</p>
<script>window.analytics = {"page": 1};</script></footer>"""


def paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.strip().split("\n\n")]


def html(title: str, text: str, language: str, framed: bool) -> bytes:
    """An HTML page; ``framed`` puts navigation, a cookie banner and a footer around the text."""
    body = "\n".join(f"<p>{escape(part, quote=False)}</p>" for part in paragraphs(text))
    before, after = (NAVIGATION, FOOTER) if framed else ("", "")
    direction = ' dir="rtl"' if language == "ar" else ""
    return (
        f'<!DOCTYPE html>\n<html lang="{language}"{direction}><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title></head><body>\n{before}\n<main><article><h1>{escape(title)}</h1>\n{body}\n</article></main>\n"
        f"{after}\n</body></html>\n"
    ).encode()


def jats(article: dict[str, Any], date: str) -> bytes:
    """A JATS article with its licence, abstract and sections."""
    year, month, day = date.split("-")
    sections = "\n".join(
        f"<sec><title>{escape(title)}</title><p>{escape(text, quote=False)}</p></sec>"
        for title, text in article["sections"]
    )
    licence = article["licence"]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) Journal Archiving and Interchange DTD'
        ' v1.3 20210610//EN" "JATS-archivearticle1-3.dtd">\n'
        '<article xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:ali="http://www.niso.org/schemas/ali/1.0/"'
        ' article-type="research-article" xml:lang="en"><front><journal-meta>'
        '<journal-id journal-id-type="nlm-ta">LUCA Sample</journal-id>'
        "<journal-title-group><journal-title>LUCA Sample Notes</journal-title></journal-title-group>"
        '<issn pub-type="epub">0000-0000</issn></journal-meta><article-meta>'
        f'<article-id pub-id-type="pmc">{article["uid"]}</article-id>'
        f"<title-group><article-title>{escape(article['title'])}</article-title></title-group>"
        '<contrib-group><contrib contrib-type="author"><collab>LUCA contributors</collab>'
        "</contrib></contrib-group>"
        f'<pub-date pub-type="epub"><day>{day}</day><month>{month}</month><year>{year}</year></pub-date>'
        "<permissions><copyright-statement>LUCA contributors</copyright-statement>"
        f'<license xlink:href="{escape(licence)}"><ali:license_ref>{escape(licence)}</ali:license_ref>'
        "<license-p>This article is distributed under the terms of the licence linked here.</license-p>"
        f"</license></permissions><abstract><p>{escape(article['abstract'], quote=False)}</p></abstract>"
        f"</article-meta></front><body>\n{sections}\n</body><back/></article>\n"
    ).encode()


def text_pdf(lines: list[str]) -> bytes:
    """One A4 page with a text layer in Helvetica, 11 points."""
    shown = "".join(f"({_literal(line)}) Tj T*\n" for line in lines)
    content = f"BT /F1 11 Tf 16 TL 60 770 Td\n{shown}ET".encode("latin-1")
    return _pdf(
        [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
            b" /Resources << /Font << /F1 5 0 R >> >> >>",
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        ]
    )


def scanned_pdf(lines: list[str], size: tuple[int, int] = (1000, 1400)) -> bytes:
    """One page that is only a picture of typed text, slightly turned, black and white."""
    from matplotlib import font_manager

    font = ImageFont.truetype(font_manager.findfont("DejaVu Serif"), 36)
    page = Image.new("L", size, 255)
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((70, 80 + 56 * number), line, fill=0, font=font)
    page = page.rotate(0.4, Image.Resampling.BICUBIC, fillcolor=255).point(
        lambda value: 255 * (value > 140), "1"
    )
    picture = zlib.compress(page.tobytes(), 9)
    content = b"q 500 0 0 700 0 0 cm /Im0 Do Q"
    return _pdf(
        [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 500 700] /Contents 4 0 R"
            b" /Resources << /XObject << /Im0 5 0 R >> >> >>",
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
            b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceGray"
            b" /BitsPerComponent 1 /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream"
            % (*size, len(picture), picture),
        ]
    )


def _pdf(objects: list[bytes]) -> bytes:
    """A PDF file of a catalogue, one page (object 3) and what it needs, with its cross-reference table."""
    catalogue = b"<< /Type /Catalog /Pages 2 0 R >>"
    bodies = [catalogue, b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>", *objects]
    out, offsets = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", []
    for number, body in enumerate(bodies, 1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return out + (
        b"xref\n0 %d\n0000000000 65535 f \n%strailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
        % (len(bodies) + 1, table, len(bodies) + 1, len(out))
    )


def _literal(line: str) -> str:
    return line.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
