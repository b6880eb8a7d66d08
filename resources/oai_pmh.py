"""OAI-PMH 2.0, harvested without loss or repetition.

Specification: https://www.openarchives.org/OAI/openarchivesprotocol.html. Where repositories depart
from it: errors under HTTP 422, Retry-After on a 200 (not slept on), deletions from a repository that
says it keeps none, tokens that expire within minutes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace

from lxml import etree

from resources.http import HttpClient, Response
from resources.http_errors import BadResponse
from resources.items import Item, Known
from resources.xml import Element, child, children, local_name, parse_xml, text_of

RECORD_MEDIA_TYPE = "application/xml"
_STATUSES = frozenset({400, 404, 422})
_RESTARTS_WITHOUT_PROGRESS = 3
_PAGES_WITHOUT_PROGRESS = 200


class OaiError(BadResponse):
    """A protocol error: its code (badArgument, …) and what the repository says."""

    def __init__(self, code: str, text: str, url: str):
        super().__init__(f"{url}: OAI-PMH error {code or '(no code)'}: {text or 'no explanation given'}")
        self.code = code


@dataclass(frozen=True)
class Identity:
    """What Identify says. granularity: YYYY-MM-DD or YYYY-MM-DDThh:mm:ssZ."""

    name: str
    base_url: str
    earliest: str
    deleted_record: str
    granularity: str


@dataclass(frozen=True)
class Record:
    """A header, and the metadata unless deleted. dc: Dublin Core element -> values, in their order."""

    identifier: str
    datestamp: str
    deleted: bool = False
    sets: tuple[str, ...] = ()
    metadata: bytes = b""
    dc: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """One ListRecords or ListIdentifiers answer; token is "" on the last page.

    unnamed: records without an identifier (dirty repositories have them), which nothing can refer to.
    """

    records: tuple[Record, ...]
    token: str = ""
    complete_list_size: int | None = None
    unnamed: int = 0


def parse_answer(body: bytes, url: str) -> Element:
    """The OAI-PMH root; OaiError for its error element (several: the first), BadResponse for other XML."""
    root = parse_xml(body, url)
    if local_name(root) != "OAI-PMH":
        raise BadResponse(
            f"{url}: the root is <{local_name(root)}>, not <OAI-PMH>. Is this the OAI base URL?"
        )
    error = child(root, "error")
    if error is not None:
        raise OaiError(error.get("code", ""), text_of(error), url)
    return root


def parse_page(body: bytes, url: str) -> Page:
    """Records (or headers) of one page; an answer noRecordsMatch is an empty page."""
    try:
        root = parse_answer(body, url)
    except OaiError as error:
        if error.code == "noRecordsMatch":
            return Page(())
        raise
    listing = next(
        (e for e in root if local_name(e) in ("ListRecords", "ListIdentifiers", "GetRecord")), None
    )
    if listing is None:
        raise BadResponse(f"{url}: an OAI-PMH answer without records, error or token")
    records = []
    for element in listing:
        if local_name(element) == "record":
            records.append(parse_record(element, url))
        elif local_name(element) == "header":
            records.append(_header(element))
    token = child(listing, "resumptionToken")
    size = token.get("completeListSize") if token is not None else None
    named = tuple(record for record in records if record.identifier)
    total = int(size) if size and size.isascii() and size.isdigit() and len(size) < 19 else None
    return Page(named, text_of(token), total, len(records) - len(named))


def _header(element: Element) -> Record:
    return Record(
        text_of(child(element, "identifier")),
        text_of(child(element, "datestamp")),
        element.get("status") == "deleted",
        tuple(text_of(e) for e in children(element, "setSpec")),
    )


def parse_record(element: Element, url: str) -> Record:
    """A <record>: the metadata as canonical XML (C14N), so that the same record gives the same bytes."""
    header = child(element, "header")
    if header is None:
        raise BadResponse(f"{url}: a record without a header")
    record = _header(header)
    metadata = child(element, "metadata")
    content = next((e for e in metadata if local_name(e)), None) if metadata is not None else None
    if record.deleted or content is None:
        return record
    return Record(
        record.identifier,
        record.datestamp,
        False,
        record.sets,
        etree.tostring(content, method="c14n", exclusive=True, with_comments=False),
        dublin_core(content),
    )


def dublin_core(element: Element) -> dict[str, tuple[str, ...]]:
    """Element name -> values, of every descendant in a Dublin Core namespace (elements or terms)."""
    values: dict[str, list[str]] = {}
    for descendant in element.iter():
        if isinstance(descendant.tag, str):
            name = etree.QName(descendant)
            if name.namespace and name.namespace.startswith("http://purl.org/dc/") and not len(descendant):
                text = text_of(descendant) or descendant.get(
                    "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource", ""
                )
                if text:
                    values.setdefault(name.localname, []).append(text)
    return {k: tuple(v) for k, v in values.items()}


class OaiClient:
    """One repository."""

    def __init__(self, http: HttpClient, base_url: str):
        self.http = http
        self.base_url = base_url

    async def request(self, verb: str, **arguments: str) -> Response:
        """One request; `from_` stands for `from`. Empty arguments are left out."""
        params = {"verb": verb, **{k.rstrip("_"): v for k, v in arguments.items() if v}}
        return await self.http.get(self.base_url, params, accept=_STATUSES)

    async def identify(self) -> Identity:
        answer = await self.request("Identify")
        body = child(parse_answer(answer.body, answer.url), "Identify")
        if body is None:
            raise BadResponse(f"{answer.url}: no <Identify> in the answer")
        facts = {local_name(e): text_of(e) for e in body}
        return Identity(
            facts.get("repositoryName", ""),
            facts.get("baseURL", ""),
            facts.get("earliestDatestamp", ""),
            facts.get("deletedRecord", "no"),
            facts.get("granularity", "YYYY-MM-DD"),
        )

    async def sets(self) -> dict[str, str]:
        """setSpec -> setName; empty for a repository without a set hierarchy."""
        found: dict[str, str] = {}
        token = ""
        while True:
            answer = await self.request("ListSets", resumptionToken=token)
            try:
                root = parse_answer(answer.body, answer.url)
            except OaiError as error:
                if error.code == "noSetHierarchy":
                    return {}
                raise
            listing = child(root, "ListSets")
            for element in children(listing, "set") if listing is not None else []:
                found[text_of(child(element, "setSpec"))] = text_of(child(element, "setName"))
            token = text_of(child(listing, "resumptionToken")) if listing is not None else ""
            if not token:
                return found

    async def metadata_formats(self) -> list[str]:
        answer = await self.request("ListMetadataFormats")
        listing = child(parse_answer(answer.body, answer.url), "ListMetadataFormats")
        formats = children(listing, "metadataFormat") if listing is not None else []
        return [text_of(child(e, "metadataPrefix")) for e in formats]

    async def get_record(self, identifier: str, metadata_prefix: str = "oai_dc") -> Record:
        answer = await self.request("GetRecord", identifier=identifier, metadataPrefix=metadata_prefix)
        page = parse_page(answer.body, answer.url)
        if not page.records:
            raise BadResponse(f"{answer.url}: GetRecord answered without a record")
        return page.records[0]

    async def records(
        self, metadata_prefix: str = "oai_dc", *, set_: str = "", from_: str = "", until: str = ""
    ) -> AsyncIterator[Record]:
        """Every record of the window once, in the repository's order.

        `from_` and `until` are inclusive. An expired token restarts the window: from the last datestamp
        seen while they have come in order, else from its beginning; what was seen is not repeated.
        """
        seen: set[tuple[str, str]] = set()
        start, last, ordered, stuck, idle = from_, "", True, 0, 0
        token = ""
        while True:
            arguments = (
                {"resumptionToken": token}
                if token
                else {"metadataPrefix": metadata_prefix, "set": set_, "from_": start, "until": until}
            )
            answer = await self.request("ListRecords", **arguments)
            try:
                page = parse_page(answer.body, answer.url)
            except OaiError as error:
                if error.code != "badResumptionToken" or not token:
                    raise
                stuck += 1
                if stuck > _RESTARTS_WITHOUT_PROGRESS:
                    raise BadResponse(
                        f"{answer.url}: the resumption token expired {stuck} times without a new record"
                    ) from None
                token, start = "", (last if ordered and last else from_)
                continue
            idle += 1
            if idle > _PAGES_WITHOUT_PROGRESS:
                raise BadResponse(f"{answer.url}: {idle - 1} pages in a row without a new record")
            for record in page.records:
                key = (record.identifier, record.datestamp)
                if key in seen:
                    continue
                seen.add(key)
                stuck = idle = 0
                ordered = ordered and record.datestamp >= last
                last = max(last, record.datestamp)
                yield record
            if not page.token:
                return
            if page.token == token and not page.records:
                raise BadResponse(f"{answer.url}: the same resumption token again, and no records")
            token = page.token


def in_granularity(datestamp: str, granularity: str) -> str:
    """A datestamp as the repository wants it in `from`: the day alone, or to the second."""
    if not datestamp:
        return ""
    day = datestamp[:10]
    if "T" not in granularity and "t" not in granularity:
        return day
    return datestamp if "T" in datestamp else f"{day}T00:00:00Z"


def to_item(record: Record, *, follow: bool) -> Item:
    """A record as an Item. The payload is what its first http(s) dc:identifier names, if we follow those
    and it has one; else the metadata itself (an abstract is worth keeping).
    """
    if record.deleted:
        return Item(
            record.identifier, datestamp=record.datestamp, deleted="deleted upstream (OAI-PMH header)"
        )
    dc = record.dc
    link = next((v for v in dc.get("identifier", ()) if v.startswith(("http://", "https://"))), "")
    rights = tuple(dict.fromkeys((*dc.get("license", ()), *dc.get("rights", ()))))
    metadata = {
        "oai_identifier": record.identifier,
        "sets": list(record.sets),
        **{k: list(dc[k]) for k in ("date", "type", "subject", "source", "description") if k in dc},
    }
    follow = follow and bool(link)
    return Item(
        record.identifier,
        version=record.datestamp,
        title=next(iter(dc.get("title", ())), ""),
        url=link if follow else "",
        content=None if follow else record.metadata,
        datestamp=record.datestamp,
        media_type="" if follow else RECORD_MEDIA_TYPE,
        licence_stated=rights,
        attribution="; ".join(dc.get("creator", ()) or dc.get("publisher", ())),
        language=next(iter(dc.get("language", ())), ""),
        denied="" if follow or record.metadata else "the record has neither metadata nor an address",
        metadata=metadata,
    )


async def harvest(
    http: HttpClient,
    base_url: str,
    known: Known,
    *,
    metadata_prefix: str,
    set: str = "",
    follow: bool = False,
) -> AsyncIterator[Item]:
    """Records changed since the known high-water mark, deletions included (all of them the first time).

    The window overlaps by the mark's own granule, since `from` is inclusive; the mirror drops what it
    holds in that version. A record that carries two versions comes twice, the newer last.
    """
    client = OaiClient(http, base_url)
    start = ""
    if known.high_water:
        identity = await client.identify()
        start = in_granularity(known.high_water, identity.granularity)
    async for record in client.records(metadata_prefix, set_=set, from_=start):
        item = to_item(record, follow=follow)
        if not item.deleted and not item.url:
            where = {"verb": "GetRecord", "identifier": record.identifier, "metadataPrefix": metadata_prefix}
            item = replace(item, url=str(http.logical(base_url, where)))
        yield item
