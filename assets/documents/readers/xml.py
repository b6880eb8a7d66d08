"""Safe XML parsing and walking, for every XML format here."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

from lxml import etree

from assets.documents.parts import RawItem, Unreadable

_SPACE = re.compile(r"\s+")


def parse_xml(item: RawItem, limit: int = 256 * 2**20) -> Any:
    """Root element. No network, no external entities, no entity bombs; a broken document is mended by
    libxml2 where it can be and Unreadable ``damaged`` where nothing is left."""
    if item.path.stat().st_size > limit:
        raise Unreadable("too_large", f"{item.path.stat().st_size} bytes of XML, the limit is {limit}")
    data = item.path.read_bytes()
    try:
        return etree.fromstring(data, _parser(recover=False))
    except etree.XMLSyntaxError as error:
        first = str(error)
    root = etree.fromstring(data, _parser(recover=True))
    if root is None or not len(root):
        raise Unreadable("damaged", f"no XML: {first}")
    return root


def _parser(recover: bool) -> Any:
    # Internal entities only, and libxml2 bounds how far they may grow; nothing is fetched.
    options: dict[str, Any] = {"resolve_entities": "internal", "no_network": True, "load_dtd": False}
    return etree.XMLParser(recover=recover, remove_comments=True, remove_pis=True, **options)


def local(element: Any) -> str:
    """The element's name without its namespace."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def first(root: Any, *names: str) -> Any | None:
    """The first element, in document order, with one of these local names."""
    for element in root.iter():
        if local(element) in names:
            return element
    return None


def all_named(root: Any, *names: str) -> list[Any]:
    """All elements with one of these local names, in document order."""
    return [e for e in root.iter() if local(e) in names]


def inline(element: Any, skip: Iterable[str] = ()) -> str:
    """The element's text on one line, without the subtrees named in `skip`."""
    skipped = frozenset(skip)
    pieces: list[str] = []

    def walk(node: Any) -> None:
        if node.text:
            pieces.append(node.text)
        for child in node:
            if local(child) and local(child) not in skipped:
                walk(child)
            if child.tail:
                pieces.append(child.tail)

    walk(element)
    return _SPACE.sub(" ", "".join(pieces)).strip()


def alone(element: Any) -> Any:
    """A parent that holds a copy of the element and nothing else, tail included."""
    holder = element.makeelement("holder")
    twin = copy.deepcopy(element)
    twin.tail = None
    holder.append(twin)
    return holder
