"""XML from strangers: no entities, no network, no DTD; HTML in its place named for what it is."""

from __future__ import annotations

from typing import Any

from lxml import etree

from resources.http import start_of
from resources.http_errors import BadResponse, Denied

Element = Any


def looks_like_html(body: bytes) -> bool:
    """Whether a body begins as an HTML page does (a challenge, an outage page)."""
    start = body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html"))


def parse_xml(body: bytes, url: str, *, huge: bool = False) -> Element:
    """The root element; Denied for an HTML page in its place, BadResponse for broken XML.

    Both quote the start of what came.
    """
    if looks_like_html(body):
        raise Denied(
            f"{url}: an HTML page stands where XML should (a challenge or an outage): {start_of(body)}"
        )
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=huge, remove_comments=False
    )
    try:
        return etree.fromstring(body, parser)
    except etree.XMLSyntaxError as error:
        raise BadResponse(f"{url}: not well-formed XML ({error}): {start_of(body)}") from None


def local_name(element: Element) -> str:
    """The tag without its namespace; "" for comments and processing instructions."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""


def text_of(element: Element | None) -> str:
    """All text inside, with white space collapsed; "" for None."""
    return " ".join("".join(element.itertext()).split()) if element is not None else ""


def child(element: Element, name: str) -> Element | None:
    """The first child of that local name."""
    return next((c for c in element if local_name(c) == name), None)


def children(element: Element, name: str) -> list[Element]:
    return [c for c in element if local_name(c) == name]
