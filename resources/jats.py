"""What a JATS article says of itself: licence, title, authors. Read by the rights gate before it is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resources.items import Payload
from resources.xml import Element, local_name, parse_xml, text_of

_HREF = "{http://www.w3.org/1999/xlink}href"
_REFUSAL = "does not allow downloading of the full text"


def read_jats(path: Path) -> Payload:
    """Statements of the first article in the file; `denied` where PMC withholds the full text.

    Articles are a few MB at most, so the tree is held in memory.
    """
    body = path.read_bytes()
    root = parse_xml(body, path.name, huge=True)
    article = root if local_name(root) == "article" else _first(root, "article")
    if article is None:
        return Payload(damaged=f"no <article> in the XML (root <{local_name(root)}>)")
    if _REFUSAL in body[:20_000].decode("utf-8", "replace") and _first(article, "body") is None:
        return Payload(denied="the publisher does not allow downloading of the full text (PMC)")
    front = _first(article, "front")
    meta = _first(front, "article-meta") if front is not None else None
    if meta is None:
        return Payload(damaged="no <article-meta> in the JATS")
    permissions = _first(meta, "permissions")
    scope = permissions if permissions is not None else meta
    authors = [_author(e) for e in _all(meta, "contrib") if e.get("contrib-type") == "author"]
    journal = text_of(_first(front, "journal-title"))
    metadata: dict[str, Any] = {
        e.get("pub-id-type", "id"): text_of(e) for e in _all(meta, "article-id") if text_of(e)
    }
    if journal:
        metadata["journal"] = journal
    return Payload(
        licence_stated=licence_statements(scope),
        attribution="; ".join(filter(None, [", ".join(filter(None, authors)), journal])),
        title=text_of(_first(meta, "article-title")),
        metadata=metadata,
    )


def licence_statements(scope: Element) -> tuple[str, ...]:
    """Every statement in <license> (its link, ali:license_ref, its words), else the copyright statement."""
    found: list[str] = []
    for licence in _all(scope, "license"):
        found.append(licence.get(_HREF, ""))
        found.extend(text_of(e) for e in _all(licence, "license_ref"))
        found.extend(e.get(_HREF, "") for e in _all(licence, "ext-link"))
        found.append(text_of(licence))
    found.extend(text_of(e) for e in scope.iter() if local_name(e) == "license_ref")
    if not any(found):
        found = [text_of(e) for e in _all(scope, "copyright-statement")]
    return tuple(dict.fromkeys(s for s in found if s and not s.startswith("mailto:")))


def _author(contributor: Element) -> str:
    name = _first(contributor, "name")
    if name is None:
        return text_of(_first(contributor, "collab"))
    return " ".join(filter(None, [text_of(_first(name, "given-names")), text_of(_first(name, "surname"))]))


def _first(element: Element, name: str) -> Element | None:
    return next((e for e in element.iter() if local_name(e) == name and e is not element), None)


def _all(element: Element, name: str) -> list[Element]:
    return [e for e in element.iter() if local_name(e) == name]
