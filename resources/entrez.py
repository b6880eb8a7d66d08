"""NCBI Entrez E-utilities: search, post, summaries, fetch; changes only on a refresh.

Manual: https://www.ncbi.nlm.nih.gov/books/NBK25499/. Known ways of failing: an error or a rate limit
under 200, an empty body, lists cut at 9,999 in PubMed, a phrase not found (an empty answer, no error).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from resources.http import HttpClient, Response, start_of
from resources.http_errors import BadResponse, Transient, Unreachable
from resources.items import Item, Known, Payload
from resources.jats import read_jats
from resources.xml import Element, child, local_name, looks_like_html, parse_xml, text_of

HOST = "eutils.ncbi.nlm.nih.gov"
PAGE = 10_000
PUBMED_WINDOW = 9_999
HIGHEST_UID = 2**32 - 1
POST_ABOVE = 200
SUMMARIES = 200
MEDIA_TYPES = {"fasta": "text/x-fasta", "gb": "text/x-genbank", "gbwithparts": "text/x-genbank"}
_TRANSIENT = (
    "search backend failed",
    "api rate limit exceeded",
    "temporarily unavailable",
    "backend timeout",
)


class EntrezError(BadResponse):
    """An <ERROR> that E-utilities put in an answer under 200."""


@dataclass(frozen=True)
class SearchResult:
    """One esearch page. ids: UIDs, or accession.version with idtype=acc; count: matches in all."""

    count: int
    ids: tuple[str, ...]
    web_env: str = ""
    query_key: str = ""
    phrases_not_found: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """One esummary DocSum (version 1.0): its UID and its items by name; lists as tuples of values."""

    uid: str
    items: Mapping[str, Any] = field(default_factory=dict)

    def text(self, *names: str) -> str:
        """The first of the named items that has a value."""
        return next((str(self.items[n]) for n in names if self.items.get(n)), "")


def check_body(response: Response) -> None:
    """Transient for a body that says nothing yet: empty, or a rate limit or a backend failure under 200."""
    body = response.body.strip()
    if not body:
        raise Transient(f"{response.url}: an empty body", response.status)
    lowered = body[:2000].decode("utf-8", "replace").lower()
    if any(phrase in lowered for phrase in _TRANSIENT):
        raise Transient(f"{response.url}: {start_of(body)}", response.status)
    if body.startswith(b"{"):
        try:
            answer = json.loads(body)
        except ValueError:
            return
        if isinstance(answer, dict) and "error" in answer:
            raise EntrezError(f"{response.url}: {answer['error']}", response.status)


def _root(body: bytes, url: str) -> Element:
    return parse_xml(body, url)


def _errors(root: Element) -> list[str]:
    return [text_of(e) for e in root if local_name(e) == "ERROR"]


def parse_search(body: bytes, url: str = "esearch") -> SearchResult:
    """An eSearchResult; EntrezError if it carries an <ERROR>."""
    root = _root(body, url)
    if errors := _errors(root):
        raise EntrezError(f"{url}: {'; '.join(errors)}")
    if local_name(root) != "eSearchResult":
        raise BadResponse(f"{url}: the root is <{local_name(root)}>, not <eSearchResult>")
    ids = child(root, "IdList")
    not_found = child(root, "ErrorList")
    count = text_of(child(root, "Count")) or "0"
    if not re.fullmatch("[0-9]{1,18}", count):
        raise BadResponse(f"{url}: Count is {count[:80]!r}, not a number")
    return SearchResult(
        int(count),
        tuple(text_of(e) for e in ids) if ids is not None else (),
        text_of(child(root, "WebEnv")),
        text_of(child(root, "QueryKey")),
        tuple(text_of(e) for e in not_found if local_name(e) == "PhraseNotFound")
        if not_found is not None
        else (),
    )


def parse_post(body: bytes, url: str = "epost") -> tuple[str, str]:
    """(WebEnv, QueryKey) of an ePostResult; EntrezError with every <ERROR> it lists."""
    root = _root(body, url)
    if errors := _errors(root):
        raise EntrezError(f"{url}: {'; '.join(errors)}")
    return text_of(child(root, "WebEnv")), text_of(child(root, "QueryKey"))


def parse_summaries(body: bytes, url: str = "esummary") -> list[Summary]:
    """The DocSums of an eSummaryResult. An <ERROR> beside DocSums (a withdrawn UID) leaves those out."""
    root = _root(body, url)
    summaries = [
        Summary(text_of(child(e, "Id")), {i.get("Name", ""): _value(i) for i in e if local_name(i) == "Item"})
        for e in root
        if local_name(e) == "DocSum"
    ]
    if not summaries and (errors := _errors(root)):
        raise EntrezError(f"{url}: {'; '.join(errors)}")
    return summaries


def _value(item: Element) -> Any:
    nested = [e for e in item if local_name(e) == "Item"]
    if item.get("Type") in ("List", "Structure") or nested:
        return (
            {e.get("Name", ""): _value(e) for e in nested} if _named(nested) else [_value(e) for e in nested]
        )
    return text_of(item)


def _named(nested: list[Element]) -> bool:
    names = [e.get("Name", "") for e in nested]
    return len(set(names)) == len(names)


class EntrezClient:
    """The E-utilities at `base_url`. The API key (10 requests a second) comes from NCBI_API_KEY."""

    def __init__(self, http: HttpClient, base_url: str, environment: Mapping[str, str] = os.environ):
        self.http = http
        self.base_url = base_url.rstrip("/")
        self.identity = {"tool": "luca"}
        if http.contact:
            self.identity["email"] = http.contact
        if key := environment.get("NCBI_API_KEY"):
            self.identity["api_key"] = key
            http.secrets = (*http.secrets, key)
            http.spacing.setdefault(HOST, 0.11)

    async def request(self, utility: str, **arguments: str) -> Response:
        """One call; a long id list goes by POST."""
        params = {k: v for k, v in arguments.items() if v}
        url = f"{self.base_url}/{utility}.fcgi"
        if params.get("id", "").count(",") >= POST_ABOVE:
            return await self.http.get(
                url, method="POST", data={**params, **self.identity}, inspect=check_body, max_bytes=256 << 20
            )
        return await self.http.get(url, {**params, **self.identity}, inspect=check_body, max_bytes=256 << 20)

    async def search(self, db: str, term: str, **arguments: str) -> SearchResult:
        answer = await self.request("esearch", db=db, term=term, **arguments)
        return parse_search(answer.body, answer.url)

    async def post(self, db: str, ids: Sequence[str]) -> tuple[str, str]:
        """Put ids on the history server: (WebEnv, QueryKey). At most 10,000 ids."""
        if not 0 < len(ids) <= PAGE:
            raise ValueError(f"epost takes 1 to {PAGE:,} ids, not {len(ids):,}")
        answer = await self.request("epost", db=db, id=",".join(ids))
        return parse_post(answer.body, answer.url)

    async def summaries(self, db: str, ids: Sequence[str]) -> list[Summary]:
        """Summaries of at most a few hundred ids."""
        answer = await self.request("esummary", db=db, id=",".join(ids), version="1.0")
        return parse_summaries(answer.body, answer.url)

    async def ids(self, db: str, term: str, *, mindate: str = "", maxdate: str = "3000") -> list[str]:
        """Every matching id, sorted; changed since `mindate` (YYYY/MM/DD, by mdat) if given.

        PubMed hands out its first 9,999 matches only: more are split by UID range until each part fits.
        """
        dates = {"mindate": mindate, "maxdate": maxdate, "datetype": "mdat"} if mindate else {}
        kind = {"idtype": "acc"} if db in ("nuccore", "protein") else {}
        if db == "pubmed":
            found = await self._by_uid_range(term, dates, 1, HIGHEST_UID, whole=True)
        else:
            found = await self._paged(db, term, {**dates, **kind})
        return sorted(set(found))

    async def _paged(self, db: str, term: str, arguments: Mapping[str, str]) -> list[str]:
        first = await self.search(db, term, retmax=str(PAGE), usehistory="y", **arguments)
        found = list(first.ids)
        known = set(found)
        while len(found) < first.count:
            page = await self.search(
                db,
                term,
                retmax=str(PAGE),
                retstart=str(len(found)),
                usehistory="y",
                WebEnv=first.web_env,
                query_key=first.query_key,
                **arguments,
            )
            if known.issuperset(page.ids):
                raise Unreachable(
                    f"{self.base_url}: {first.count} matches, but the list ends at {len(found)}"
                )
            found.extend(page.ids)
            known.update(page.ids)
        return found

    async def _by_uid_range(
        self, term: str, dates: Mapping[str, str], low: int, high: int, *, whole: bool = False
    ) -> list[str]:
        part = term if whole else f"({term}) AND {low}:{high}[UID]"
        result = await self.search("pubmed", part, retmax=str(PUBMED_WINDOW), **dates)
        if result.count <= PUBMED_WINDOW or low >= high:
            return list(result.ids)
        middle = (low + high) // 2
        return [
            *await self._by_uid_range(term, dates, low, middle),
            *await self._by_uid_range(term, dates, middle + 1, high),
        ]

    def fetch_address(self, db: str, uid: str, rettype: str, retmode: str) -> str:
        """The efetch address of one record, without tool, email and key: fit to be stored."""
        arguments = {"db": db, "id": uid, "rettype": rettype, "retmode": retmode}
        return str(
            self.http.logical(f"{self.base_url}/efetch.fcgi", {k: v for k, v in arguments.items() if v})
        )


def to_item(client: EntrezClient, listed: str, summary: Summary, db: str, rettype: str, retmode: str) -> Item:
    """A DocSum as an Item; `listed` is the id as the search gave it."""
    ids = summary.items.get("ArticleIds")
    ids = ids if isinstance(ids, Mapping) else {}
    metadata: dict[str, Any] = {"uid": summary.uid, "listed_id": listed, "db": db}
    accession = summary.text("AccessionVersion")
    updated = summary.text("UpdateDate", "LastUpdate")
    for name, key in (("TaxId", "taxid"), ("Length", "length"), ("DOI", "doi"), ("Source", "journal")):
        if value := summary.text(name):
            metadata[key] = value
    if db in ("nuccore", "protein"):
        accession = accession or summary.text("Caption") or listed
        upstream_id, fetch = accession.partition(".")[0], accession
        # A sequence's own version changes with its letters; its annotation changes with the date only.
        version = accession if rettype == "fasta" else f"{accession} {updated}".strip()
    else:
        number = summary.uid or listed
        if db == "pmc":
            pmcid = str(ids.get("pmcid") or ids.get("pmc") or number)
            upstream_id = pmcid if pmcid.upper().startswith("PMC") else f"PMC{pmcid}"
        else:
            upstream_id = f"PMID{number}" if db == "pubmed" else number
        fetch, version = number, updated
    status = summary.text("Status").lower()
    authors = summary.items.get("AuthorList")
    names = list(authors.values() if isinstance(authors, Mapping) else authors or [])
    return Item(
        upstream_id,
        version=version,
        title=summary.text("Title"),
        url=client.fetch_address(db, fetch, rettype, retmode),
        params=client.identity,
        datestamp=updated,
        media_type=MEDIA_TYPES.get(rettype, "application/xml" if retmode == "xml" else "text/plain"),
        licence_in_payload=db == "pmc",
        attribution="; ".join(filter(None, [", ".join(map(str, names)), summary.text("Source")])),
        deleted=f"{status} upstream" if status not in ("", "live") else "",
        metadata=metadata,
    )


def check_head(head: bytes) -> None:
    """Refuse an efetch payload that is an error in disguise; Transient where it is worth asking again."""
    text = head.strip()
    if not text:
        raise Transient("efetch gave an empty body")
    start = text[:400].decode("utf-8", "replace")
    if any(phrase in start.lower() for phrase in _TRANSIENT) or start.startswith('{"error"'):
        raise Transient(f"efetch: {start_of(text)}")
    if looks_like_html(text):
        raise Transient(f"efetch gave an HTML page: {start_of(text)}")
    if "<ERROR>" in text[:2000].decode("utf-8", "replace") or start.startswith(("Error:", "ERROR:")):
        raise EntrezError(f"efetch: {start_of(text)}")


def read_payload(item: Item, path: Path) -> Payload:
    """Licence, title and attribution of a JATS article, which states them itself; nothing for the rest."""
    if not item.licence_in_payload:
        return Payload()
    return read_jats(path)


def since(known: Known) -> str:
    """YYYY/MM/DD to search from: the latest update seen, else two days before the last retrieval.

    PMC and PubMed summaries carry no modification date; two days cover clocks and time zones.
    """
    if known.high_water:
        return known.high_water[:10].replace("-", "/")
    if known.retrieved:
        day = date.fromisoformat(known.retrieved[:10]) - timedelta(days=2)
        return day.strftime("%Y/%m/%d")
    return ""


async def harvest(
    http: HttpClient, base_url: str, known: Known, *, db: str, term: str, rettype: str, retmode: str
) -> AsyncIterator[Item]:
    """New and changed records, and those that the search no longer finds (deleted).

    Two searches on a refresh: all ids (10,000 a request), since only absence tells a deletion, and the
    ids changed by `mdat`. Summaries are asked for new and changed ids alone.
    """
    client = EntrezClient(http, base_url)
    listed = await client.ids(db, term)
    held = known.aliases
    start = since(known)
    if start and held:
        changed = set(await client.ids(db, term, mindate=start))
        wanted = [i for i in listed if i not in held or i in changed or held[i] in known.retry]
    else:
        wanted = listed
    present = {held[i] for i in listed if i in held}
    for at in range(0, len(wanted), SUMMARIES):
        batch = wanted[at : at + SUMMARIES]
        for item in _described(client, batch, await client.summaries(db, batch), db, rettype, retmode):
            present.add(item.upstream_id)
            yield item
    for upstream_id in sorted(known.ids - present):
        yield Item(upstream_id, deleted="the search no longer finds it")


def _described(
    client: EntrezClient,
    batch: Sequence[str],
    summaries: Sequence[Summary],
    db: str,
    rettype: str,
    retmode: str,
) -> list[Item]:
    """Items for the summaries, each tied to the id that the search listed (a UID or an accession)."""
    wanted = set(batch)
    items = []
    for summary in summaries:
        candidates = (summary.uid, summary.text("AccessionVersion"), summary.text("Caption"))
        listed = next((c for c in candidates if c in wanted), summary.uid)
        items.append(to_item(client, listed, summary, db, rettype, retmode))
    return items
