"""Plain text, Markdown, configurations and digital organisms, and tables."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator

from assets.documents.encoding import read_text
from assets.documents.parts import Part, RawItem, Rejection, Unreadable

_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n(?:---|\.\.\.)\n", re.DOTALL)
_TITLE = re.compile(r"^title:\s*[\"']?(.*?)[\"']?\s*$", re.MULTILINE)
# Attribute lists ({: data-type="term"}, {#id .class}), HTML wrappers and image links of Markdown dialects.
_ATTRIBUTES = re.compile(r"[ \t]*\{:?\s*[#.:\w][^{}\n]*\}")
_WRAPPER = re.compile(
    r"</?(?:div|span|section|figure|figcaption|a|img|br|hr|sup|sub|p)\b[^<>]*>", re.IGNORECASE
)
# Processing marks that some books carry as elements of their own (<cnx-pi> … </cnx-pi>).
_CUSTOM = re.compile(r"<([a-z]+-[a-z-]+)\b[^<>]*>.*?</\1>", re.DOTALL)
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+.!-])")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_IMAGE = re.compile(r"!\[([^\]]*)\]\([^()]*(?:\([^()]*\)[^()]*)*\)")
_REFERENCE = re.compile(r"\[\[[^\]]*\]\]\(#[^)]*\)")
_LINK = re.compile(r"\[([^\[\]]+)\]\((?!\s)[^()\s]*(?:\([^()]*\)[^()\s]*)*(?:\s+\"[^\"]*\")?\)")
_EMPHASIS = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")


def read_plain(item: RawItem) -> Iterator[Part | Rejection]:
    """The text as it stands: prose, configurations, Avida's .org and .cfg."""
    text, encoding = read_text(item)
    yield Part(text=text, quality={"reader": "plain", "encoding": encoding})


def read_markdown(item: RawItem) -> Iterator[Part | Rejection]:
    """Markdown: headings and lists stay, front matter, attributes, wrappers and link targets go."""
    text, encoding = read_text(item)
    text = text.replace("\r\n", "\n").lstrip("\ufeff")
    title = None
    if front := _FRONT_MATTER.match(text):
        found = _TITLE.search(front.group(1))
        title = found.group(1) if found else None
        text = text[front.end() :]
    yield Part(text=plain_markdown(text), title=title, quality={"reader": "markdown", "encoding": encoding})


def plain_markdown(text: str) -> str:
    """Markdown without what only a renderer needs."""
    text = _CUSTOM.sub("", _COMMENT.sub("", text))
    text = _IMAGE.sub(r"\1", text)
    text = _REFERENCE.sub("", text)
    text = _LINK.sub(r"\1", text)
    text = _ATTRIBUTES.sub("", text)
    text = _WRAPPER.sub("", text)
    return _ESCAPE.sub(r"\1", _EMPHASIS.sub(r"\2", text))


def read_csv(item: RawItem) -> Iterator[Part | Rejection]:
    """A table with a heading row as JSON Lines, an object a row; a row of another width is set aside."""
    text, encoding = read_text(item)
    sample = text[:8192]
    try:
        dialect: type[csv.Dialect] | csv.Dialect = csv.Sniffer().sniff(sample, delimiters=",\t;|")
    except csv.Error:
        dialect = csv.excel_tab if "\t" in sample else csv.excel
    rows = csv.reader(io.StringIO(text), dialect)
    header = next(rows, None)
    if not header or len(header) < 2:
        raise Unreadable("no_table", "no heading row with two columns or more")
    lines: list[str] = []
    for row in rows:
        if not row:
            continue
        if len(row) != len(header):
            yield Rejection(
                f"line {rows.line_num}", "bad_row", f"{len(row)} cells, the heading has {len(header)}"
            )
            continue
        lines.append(json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False))
    if not lines:
        raise Unreadable("no_text", "the table has no row")
    # An empty line between rows lets long tables be split there.
    joined = "\n".join(lines) if len(text) <= 20_000 else "\n\n".join(lines)
    yield Part(text=joined, quality={"reader": "table", "encoding": encoding, "rows": len(lines)})
