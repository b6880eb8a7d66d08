"""Entrez: recorded answers are understood or refused rightly; the client against the local upstream."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from resources.entrez import (
    EntrezClient,
    EntrezError,
    check_body,
    check_head,
    parse_post,
    parse_search,
    parse_summaries,
    read_payload,
)
from resources.http import HttpClient, Response
from resources.http_errors import BadResponse, Transient
from resources.items import Item
from tests.resources.upstream import running


def recording(golden: Path, name: str) -> bytes:
    return (golden / "entrez" / "biopython" / name).read_bytes()


def test_recorded_searches(golden: Path) -> None:
    first = parse_search(recording(golden, "esearch1.xml"))
    assert first.count == 63
    assert len(first.ids) == 20
    assert first.ids[0] == "41282813"
    for number in (2, 3, 5, 6, 7):
        assert parse_search(recording(golden, f"esearch{number}.xml")).count > 0


def test_a_phrase_that_is_not_found_is_an_empty_answer(golden: Path) -> None:
    result = parse_search(recording(golden, "esearch8.xml"))
    assert (result.count, result.ids, result.phrases_not_found) == (0, (), ("abcXYZ",))


def test_recorded_posts_and_their_errors(golden: Path) -> None:
    assert parse_post(recording(golden, "epost1.xml")) == ("MCID_692851c130aec64bed0a8c2a", "1")
    with pytest.raises(EntrezError, match="Invalid db name"):
        parse_post(recording(golden, "epost2.xml"))
    with pytest.raises(EntrezError, match=r"Empty ID list.*invalid value"):
        parse_post(recording(golden, "epost3.xml"))


def test_recorded_summaries(golden: Path) -> None:
    for number in (1, 3, 4, 5, 6, 9):
        assert parse_summaries(recording(golden, f"esummary{number}.xml"))
    protein = parse_summaries(recording(golden, "esummary3.xml"))[0]
    assert protein.uid == "28800982"
    assert protein.text("Caption") == "AAO47091"
    assert protein.text("UpdateDate") == "2016/07/25"
    with pytest.raises(EntrezError):
        parse_summaries(recording(golden, "esummary8.xml"))


def test_recorded_articles_state_their_licences(golden: Path) -> None:
    item = Item("PMC1", licence_in_payload=True)
    folder = golden / "entrez" / "pmc_nxml"
    stated = {p.name: read_payload(item, p) for p in sorted(folder.glob("*.nxml"))}
    assert "http://creativecommons.org/licenses/by/2.0" in stated["1471-2180-11-174.nxml"].licence_stated
    assert any(
        "Creative Commons Attribution License" in s for s in stated["pone.0000217.nxml"].licence_stated
    )
    assert all(p.title and p.attribution for p in stated.values())
    restricted = read_payload(item, golden / "entrez" / "biopython" / "efetch_pmc.xml")
    assert any("Non-Commercial" in s for s in restricted.licence_stated)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", Transient),
        (b'{"error":"API rate limit exceeded","count":"11"}', Transient),
        (b"<eSearchResult><ERROR>Search Backend failed: x</ERROR></eSearchResult>", Transient),
        (b'{"error":"invalid api key"}', EntrezError),
    ],
)
def test_errors_under_200(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        check_body(Response(200, {}, body, "u"))


def test_payloads_that_are_errors_in_disguise() -> None:
    check_head(b">x y\nACGT<html>\n")
    for head in (b" \n", b"<!DOCTYPE html><html>", b'{"error":"API rate limit exceeded"}'):
        with pytest.raises(Transient):
            check_head(head)
    with pytest.raises(EntrezError):
        check_head(b"<?xml version='1.0'?><eFetchResult><ERROR>no record</ERROR></eFetchResult>")


def test_html_for_xml_is_named(golden: Path) -> None:
    with pytest.raises(BadResponse):
        parse_search(b"<a><b></a>")


def test_ids_and_summaries_of_the_upstream_and_only_changed_ones(tmp_path: Path) -> None:
    async def body() -> None:
        with running(tmp_path) as upstream:
            async with upstream.http() as http:
                client = EntrezClient(http, "http://sample.luca.test/entrez/eutils", {"NCBI_API_KEY": "k3y"})
                ids = await client.ids("nuccore", "all[filter]")
                assert len(ids) >= 10
                assert all("." in i for i in ids)
                summaries = await client.summaries("nuccore", ids)
                assert {s.text("AccessionVersion") for s in summaries} == set(ids)
                assert await client.ids("nuccore", "all[filter]", mindate="2999/01/01") == []
                environment, key = await client.post("nuccore", ids[:3])
                assert environment and key
                address = client.fetch_address("nuccore", ids[0], "fasta", "text")
                assert "k3y" not in address and "luca" not in address.partition("?")[2]

    asyncio.run(body())


def test_a_rate_limit_under_200_is_retried(tmp_path: Path) -> None:
    async def body() -> None:
        with running(tmp_path) as upstream:
            upstream.control("faults", b"/entrez/*=ratelimit*2")
            async with upstream.http() as http:
                client = EntrezClient(http, "http://sample.luca.test/entrez/eutils", {})
                assert (await client.search("nuccore", "all[filter]")).count > 0
                assert http.requests == 3

    asyncio.run(body())


class Ranged(EntrezClient):
    """PubMed with 25,000 UIDs behind the same request interface: only the network is left out."""

    uids = range(1_000_000, 1_025_000)

    async def request(self, utility: str, **arguments: str) -> Response:
        term = arguments["term"]
        low, high = 0, 2**32
        if "[UID]" in term:
            low, high = (int(n) for n in term.rpartition(" AND ")[2].removesuffix("[UID]").split(":"))
        found = [u for u in self.uids if low <= u <= high]
        shown = found[: int(arguments["retmax"])]
        ids = "".join(f"<Id>{u}</Id>" for u in shown)
        body = f"<eSearchResult><Count>{len(found)}</Count><IdList>{ids}</IdList></eSearchResult>"
        return Response(200, {}, body.encode(), "u")


def test_pubmed_lists_over_9999_are_split_by_uid() -> None:
    client = Ranged(HttpClient(), "http://x.test", {})
    assert asyncio.run(client.ids("pubmed", "life")) == [str(u) for u in Ranged.uids]
