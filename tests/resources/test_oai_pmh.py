"""OAI-PMH: recorded exchanges, and harvests of the local upstream with its faults."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from resources.http_errors import BadResponse, Denied
from resources.items import Known
from resources.oai_pmh import OaiClient, OaiError, harvest, in_granularity, parse_answer, parse_page, to_item
from tests.resources.upstream import Running, running

BASE = "http://sample.luca.test/oai"


def cassette(golden: Path, name: str) -> list[tuple[int, bytes]]:
    recorded = yaml.safe_load((golden / "oai" / "scythe_cassettes" / name).read_text())
    return [
        (i["response"]["status"], i["response"]["body"]["content"].encode()) for i in recorded["interactions"]
    ]


def test_a_live_repositorys_pages(golden: Path) -> None:
    records = []
    errors = []
    for _, body in cassette(golden, "list_records.yaml"):
        try:
            records.extend(parse_page(body, "u").records)
        except OaiError as error:
            errors.append(error.code)
    assert errors == ["badArgument", "badResumptionToken"]
    assert len({r.identifier for r in records}) > 50
    deleted = [r for r in records if r.deleted]
    assert len(deleted) == 1 and not deleted[0].metadata
    item = to_item(next(r for r in records if r.dc.get("rights")), follow=True)
    assert item.url.startswith("https://doi.org/") and item.licence_stated and item.title


def test_errors_under_422_are_parsed_before_raising(golden: Path) -> None:
    (status, body), *_ = cassette(golden, "id_does_not_exist.yaml")
    assert status == 422
    with pytest.raises(OaiError) as caught:
        parse_answer(body, "u")
    assert caught.value.code == "idDoesNotExist"


@pytest.mark.parametrize(
    "code",
    [
        "badArgument",
        "badResumptionToken",
        "cannotDisseminateFormat",
        "idDoesNotExist",
        "noSetHierarchy",
        "undefinedError",
    ],
)
def test_recorded_error_documents(code: str, golden: Path) -> None:
    with pytest.raises(OaiError) as caught:
        parse_page((golden / "oai" / "sickle" / f"{code}.xml").read_bytes(), "u")
    assert caught.value.code == code


def test_recorded_dumps(golden: Path) -> None:
    folder = golden / "oai" / "sickle"
    assert parse_page((folder / "noRecordsMatch.xml").read_bytes(), "u").records == ()
    first = parse_page((folder / "ListRecords.xml").read_bytes(), "u")
    assert first.token == "ListRecords2.xml"
    assert first.complete_list_size == 8
    assert sum(parse_page(p.read_bytes(), "u").unnamed for p in folder.glob("ListRecords[234].xml")) <= 1
    assert parse_page((folder / "ListRecords4.xml").read_bytes(), "u").token == ""
    with pytest.raises(BadResponse, match="not well-formed"):
        parse_page((folder / "ListRecordsBroken.xml").read_bytes(), "u")
    pages = 0
    for path in sorted((golden / "oai" / "pyoai").rglob("*.xml")):
        if b"ListRecords>" in (body := path.read_bytes()):
            assert parse_page(body, path.name).records
            pages += 1
    assert pages


def test_an_html_page_is_denied_and_quoted() -> None:
    with pytest.raises(Denied, match="Checking your browser"):
        parse_page(b"<!DOCTYPE html><html><title>Checking your browser</title></html>", "u")


def test_granularity() -> None:
    assert in_granularity("2024-05-06T07:08:09Z", "YYYY-MM-DD") == "2024-05-06"
    assert in_granularity("2024-05-06", "YYYY-MM-DDThh:mm:ssZ") == "2024-05-06T00:00:00Z"
    assert in_granularity("", "YYYY-MM-DD") == ""


async def identifiers(upstream: Running, known: Known | None = None) -> list[str]:
    async with upstream.http() as http:
        found = harvest(http, BASE, known or Known(), metadata_prefix="oai_dc", follow=True)
        return [item.upstream_id async for item in found]


def test_faults_lose_and_repeat_nothing(tmp_path: Path) -> None:
    async def body() -> None:
        with running(tmp_path) as upstream:
            whole = await identifiers(upstream)
            assert len(whole) == len(set(whole)) > 20
            for faults in (
                b"/oai=expired*1@1",
                b"/oai=expired*1@1;/oai=expired*1@1",
                b"/oai=503:0*2@1",
                b"/oai=truncate*1@1",
                b"/oai=reset:300*1",
                b"/oai=retry200:60",
            ):
                upstream.control("faults", faults)
                assert await identifiers(upstream) == whole, faults
            upstream.control("faults", b"/oai=html")
            with pytest.raises(Denied):
                await identifiers(upstream)
            upstream.control("faults", b"/oai=unprocessable")
            async with upstream.http() as http:
                with pytest.raises(OaiError, match="idDoesNotExist"):
                    await OaiClient(http, BASE).get_record("nothing")
                assert (await OaiClient(http, BASE).identify()).deleted_record == "persistent"
                assert "oai_dc" in await OaiClient(http, BASE).metadata_formats()
                assert len(await OaiClient(http, BASE).sets()) >= 1

    asyncio.run(body())


def test_only_changes_and_deletions_come_after_the_mark(tmp_path: Path) -> None:
    async def body() -> None:
        with running(tmp_path) as upstream:
            first = await identifiers(upstream)
            upstream.control("delete", id=first[0], date="2999-01-01T00:00:00Z")
            async with upstream.http() as http:
                known = Known(high_water="2998-01-01T00:00:00Z")
                later = [i async for i in harvest(http, BASE, known, metadata_prefix="oai_dc")]
            assert [(i.upstream_id, bool(i.deleted)) for i in later] == [(first[0], True)]

    asyncio.run(body())
