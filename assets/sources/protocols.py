"""Which client harvests which protocol: the one place that knows them all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from assets.sources.catalog import Entry
from resources import entrez, oai_pmh, pds, web, xeno_canto
from resources.http import HttpClient
from resources.items import Item, Known, Payload, plain_payload


def accept_any(head: bytes) -> None:
    """No error hides under 200 in this protocol's payloads."""


@dataclass(frozen=True)
class Protocol:
    """A client: lists items, looks at the first bytes of a payload, reads what a payload states of itself."""

    harvest: Callable[..., AsyncIterator[Item]]
    check_head: Callable[[bytes], None] = accept_any
    read_payload: Callable[[Item, Path], Payload] = plain_payload


PROTOCOLS = {
    "entrez": Protocol(entrez.harvest, entrez.check_head, entrez.read_payload),
    "oai_pmh": Protocol(oai_pmh.harvest),
    "pds": Protocol(pds.harvest),
    "xeno_canto": Protocol(xeno_canto.harvest),
    "web": Protocol(web.harvest),
}


def protocol_of(entry: Entry) -> Protocol:
    return PROTOCOLS[entry.protocol]


def listing(entry: Entry, http: HttpClient, known: Known) -> AsyncIterator[Item]:
    """What upstream lists for an entry: all of it, or what changed since `known`."""
    return protocol_of(entry).harvest(http, entry.base_url, known, **entry.arguments)
