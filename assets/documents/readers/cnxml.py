"""CNXML modules (OpenStax): title, sections, paragraphs and lists as text with Markdown headings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from assets.documents.parts import Part, RawItem, Rejection, Unreadable
from assets.documents.readers.xml import alone, first, inline, local, parse_xml

_SKIPPED = {"metadata", "media", "image", "table", "iframe", "annotation", "annotation-xml"}
_INSIDE_PARAGRAPH = (
    "list",
    "note",
    "figure",
    "media",
    "equation",
    "footnote",
    "annotation",
    "annotation-xml",
)


def read_cnxml(item: RawItem) -> Iterator[Part | Rejection]:
    """One part; a collection or a module without content is Unreadable ``no_text``."""
    root = parse_xml(item)
    content = first(root, "content")
    title_element = first(root, "title")
    title = inline(title_element) if title_element is not None else None
    if local(root) != "document" or content is None:
        raise Unreadable("no_text", f"<{local(root)}> is no module with content")
    lines = [f"# {title}"] if title else []
    _blocks(content, 1, lines)
    if len(lines) < 2:
        raise Unreadable("no_text", "the module has no paragraph")
    language = root.get("{http://www.w3.org/XML/1998/namespace}lang")
    yield Part(text="\n\n".join(lines), title=title, language=language, quality={"reader": "cnxml"})


def _blocks(element: Any, level: int, lines: list[str]) -> None:
    for child in element:
        name = local(child)
        if not name or name in _SKIPPED:
            continue
        if name == "title":
            if text := inline(child):
                lines.append(f"{'#' * min(max(level, 2), 6)} {text}")
        elif name in {"section", "note", "example", "exercise", "problem", "solution", "figure", "glossary"}:
            _blocks(child, level + (name == "section"), lines)
        elif name == "list":
            items = [inline(e) for e in child if local(e) == "item"]
            lines.append("\n".join(f"- {text}" for text in items if text))
        elif name == "definition":
            term, meaning = first(child, "term"), first(child, "meaning")
            if term is not None and meaning is not None:
                lines.append(f"{inline(term)}: {inline(meaning)}")
        elif name in {"para", "caption", "quote"}:
            if text := inline(child, _INSIDE_PARAGRAPH):
                lines.append(text)
            for inner in child:
                if local(inner) in {"list", "note", "figure"}:
                    _blocks(alone(inner), level, lines)
        else:
            _blocks(child, level, lines)
