"""JATS articles (PubMed Central): title, abstract and body as text with Markdown headings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from assets.documents.parts import Part, RawItem, Rejection, Unreadable
from assets.documents.readers.xml import all_named, alone, first, inline, local, parse_xml

# Citation marks, formulas as TeX source, supplementary links: no prose.
_SKIP = (
    "tex-math",
    "annotation",
    "fn",
    "media",
    "graphic",
    "inline-graphic",
    "object-id",
    "label",
    "ext-link-uri",
)
_BLOCKS_SKIPPED = {
    "ref-list",
    "table-wrap",
    "supplementary-material",
    "fn-group",
    "disp-formula",
    "graphic",
    "media",
}


def read_jats(item: RawItem) -> Iterator[Part | Rejection]:
    """An article a part; a record without abstract and body is Unreadable ``no_text``."""
    root = parse_xml(item)
    articles = all_named(root, "article")
    if local(root) == "article":
        articles = [root]
    if not articles:
        raise Unreadable("no_article", f"the root <{local(root)}> holds no <article>")
    for number, article in enumerate(articles):
        part = _article(article)
        if part is None:
            yield Rejection(f"article {number + 1}", "no_text", "neither abstract nor body")
            continue
        yield part


def _article(article: Any) -> Part | None:
    title_element = first(article, "article-title")
    title = inline(title_element, ("fn", "xref")) if title_element is not None else None
    lines: list[str] = []
    for abstract in (e for e in all_named(article, "abstract") if not e.get("abstract-type")):
        lines.append("## Abstract")
        _blocks(abstract, 2, lines)
    body = first(article, "body")
    if body is not None:
        _blocks(body, 1, lines)
    if sum(len(line) for line in lines if not line.startswith("#")) < 40:
        return None
    heading = [f"# {title}"] if title else []
    language = article.get("{http://www.w3.org/XML/1998/namespace}lang")
    return Part(text="\n\n".join(heading + lines), title=title, language=language, quality={"reader": "jats"})


def _blocks(element: Any, level: int, lines: list[str]) -> None:
    for child in element:
        name = local(child)
        if not name or name in _BLOCKS_SKIPPED:
            continue
        if name == "title":
            text = inline(child, _SKIP)
            if text and text.casefold() != "abstract":
                lines.append(f"{'#' * min(level, 6)} {text}")
        elif name == "sec":
            _blocks(child, level + 1, lines)
        elif name == "list":
            items = [inline(e, _SKIP) for e in child if local(e) == "list-item"]
            lines.append("\n".join(f"- {text}" for text in items if text))
        elif name == "fig":
            caption = first(child, "caption")
            if caption is not None and (text := inline(caption, _SKIP)):
                lines.append(f"Figure: {text}")
        elif name == "p":
            _paragraph(child, level, lines)
        else:
            _blocks(child, level, lines)


def _paragraph(paragraph: Any, level: int, lines: list[str]) -> None:
    # Lists, figures and tables may stand inside a paragraph: take its own words, then those blocks.
    inner = [e for e in paragraph if local(e) in {"list", "fig", "fig-group", "boxed-text", "disp-quote"}]
    skip = (*_SKIP, *_BLOCKS_SKIPPED, "list", "fig", "fig-group", "boxed-text", "disp-quote")
    if text := inline(paragraph, skip):
        lines.append(text)
    for block in inner:
        _blocks(alone(block), level, lines)
