"""Bytes to text: the byte order mark, UTF-8, what the file declares, then what its bytes look like."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from assets.documents.parts import RawItem, Unreadable

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DECLARED = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]{2,40})""", re.IGNORECASE)
_MAX_DAMAGED_SHARE = 0.001


def decode(data: bytes, declared: str | None = None) -> tuple[str, str]:
    """(text, name of the encoding used). Raises Unreadable ``binary`` where the bytes are no text.

    UTF-8 wins over a declaration, since valid UTF-8 with other than ASCII letters is hardly ever
    anything else, while declarations are often wrong.
    """
    for mark, name in _BOMS:
        if data.startswith(mark):
            return _checked(data.decode(name, errors="replace")), name
    try:
        return _checked(data.decode("utf-8")), "utf-8"
    except UnicodeDecodeError:
        pass
    # A UTF-8 file with a few damaged or cut bytes: keep its many good characters.
    lenient = data.decode("utf-8", errors="replace")
    damaged = lenient.count("�")
    valid = sum(1 for c in lenient if c > "\x7f") - damaged
    if valid > damaged and damaged <= max(1, _MAX_DAMAGED_SHARE * len(lenient)):
        return _checked(lenient), "utf-8 (damaged)"
    for name in filter(None, (declared, _declared_inside(data), _guess(data), "cp1252", "latin-1")):
        try:
            return _checked(data.decode(name)), name
        except (UnicodeDecodeError, LookupError):
            continue
    raise Unreadable("binary", "the bytes are no text in any encoding tried")


def _declared_inside(data: bytes) -> str | None:
    found = _DECLARED.search(data[:2048])
    return found.group(1).decode("ascii") if found else None


def _guess(data: bytes) -> str | None:
    from resiliparse.parse.encoding import detect_encoding

    return detect_encoding(data[: 1 << 20]) or None


def _checked(text: str) -> str:
    sample = text[:100_000]
    control = sum(1 for c in sample if c < " " and c not in "\t\n\r\f\x1b") + sample.count("\x7f")
    if "\x00" in sample or control > 0.02 * max(1, len(sample)):
        raise Unreadable("binary", f"{control} control characters in the first {len(sample)} characters")
    return text


def read_text(item: RawItem, limit: int = 256 * 2**20) -> tuple[str, str]:
    """An item's text and its encoding; Unreadable ``empty``, ``too_large`` or ``binary``."""
    size = item.path.stat().st_size
    if size == 0:
        raise Unreadable("empty", "the file holds no byte")
    if size > limit:
        raise Unreadable("too_large", f"{size} bytes of text, the limit is {limit}")
    return decode(Path(item.path).read_bytes(), charset(item.media_type))


def charset(media_type: str) -> str | None:
    """The charset parameter of a media type, if it has one."""
    found = re.search(r"charset\s*=\s*\"?([^\s;\"]+)", media_type, re.IGNORECASE)
    return found.group(1) if found else None
