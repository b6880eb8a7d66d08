"""Long texts into documents of bounded length, at headings and paragraphs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

LIMIT = 20_000
_HEADING = re.compile(r"#{1,6} \S")
_SENTENCE = re.compile(r"(?<=[.!?。！？])[\s\"'”’)]*\s*")


def split_text(text: str, limit: int = LIMIT) -> list[str]:
    """Parts of at most `limit` characters, about equal, cut between paragraphs, before a heading where one
    is near. Nothing but white space at the cuts is lost, and the order stays."""
    if len(text) <= limit:
        return [text] if text.strip() else []
    target = len(text) / math.ceil(len(text) / limit)
    parts: list[str] = []
    current: list[str] = []
    length = 0
    for paragraph in _pieces(text, limit):
        added = len(paragraph) + (2 if current else 0)
        at_heading = bool(_HEADING.match(paragraph)) and length >= target / 2
        if current and (length + added > limit or length >= target or at_heading):
            parts.append("\n\n".join(current))
            current, length, added = [], 0, len(paragraph)
        current.append(paragraph)
        length += added
    if current:
        parts.append("\n\n".join(current))
    return parts


def _pieces(text: str, limit: int) -> Iterator[str]:
    """Paragraphs; those over the limit are cut at line ends, then at sentences, then anywhere."""
    for paragraph in re.split(r"\n\s*\n", text):
        paragraph = paragraph.strip("\n")
        if not paragraph.strip():
            continue
        while len(paragraph) > limit:
            cut = _cut(paragraph, limit)
            yield paragraph[:cut].rstrip()
            paragraph = paragraph[cut:].lstrip()
        if paragraph:
            yield paragraph


def _cut(paragraph: str, limit: int) -> int:
    newline = paragraph.rfind("\n", limit // 2, limit)
    if newline > 0:
        return newline
    ends = [m.end() for m in _SENTENCE.finditer(paragraph, limit // 2, limit) if m.end() <= limit]
    if ends:
        return ends[-1]
    space = paragraph.rfind(" ", limit // 2, limit)
    return space if space > 0 else limit
