"""Xeno-canto: dirty values of the fixture, errors, and the key's secrecy."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from resources.http_errors import Denied
from resources.items import Item, Known
from resources.xeno_canto import XenoCantoClient, clean_date, harvest, message_of, parse_page, quote, to_item
from tests.resources.upstream import running

BASE = "http://sample.luca.test/api/3"


@pytest.fixture
def recordings(golden: Path) -> dict[str, Item]:
    page = parse_page(json.loads((golden / "xenocanto" / "xenocanto-page.json").read_bytes()), "u")
    assert (page.total, page.pages, len(page.recordings)) == (5, 1, 5)
    return {item.upstream_id: item for r in page.recordings if (item := to_item(r)) is not None}


def test_the_fixture(recordings: dict[str, Item]) -> None:
    wren = recordings["XC694038"]
    assert wren.licence_stated == ("https://creativecommons.org/licenses/by-nc-sa/4.0/",)
    assert wren.title == "Eurasian Wren (Troglodytes troglodytes)"
    assert wren.media_type == "audio/mpeg" and wren.datestamp == "2021-12-27"
    assert "José Núñez" in wren.attribution
    assert "restricted" in recordings["XC700001"].denied
    dirty = recordings["XC1179094"]
    assert dirty.url == "https://xeno-canto.org/1179094/download"
    assert dirty.metadata["loc"] == "Saint-Junien, Bois d'Aixe"
    assert "O'Recordist & B." in dirty.attribution
    assert "date" not in dirty.metadata
    assert "lat" not in recordings["XC100000"].metadata  # 91.5 degrees
    assert recordings["XC700002"].metadata["date"] == "1998-06"
    assert recordings["XC700002"].licence_stated == ()


def test_values() -> None:
    assert clean_date("0000-00-00") == "" and clean_date("2004-00-00") == "2004" and clean_date(None) == ""
    assert quote("Troglodytes") == "Troglodytes" and quote("a b") == '"a b"' and quote(">3") == '">3"'
    assert message_of({"error": "client_error", "message": "m"}) == "m"
    assert message_of({"status": "error", "error": {"code": "c", "message": "n"}}) == "n"


def test_the_upstream_and_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        with running(tmp_path) as upstream:
            async with upstream.http() as http:
                monkeypatch.setenv("XENO_CANTO_KEY", "sec-ret-1")
                items = [i async for i in harvest(http, BASE, Known(), query="grp:birds")]
                assert items
                assert "sec-ret-1" not in repr(items)
                monkeypatch.setenv("XENO_CANTO_KEY", "invalid")
                with pytest.raises(Denied) as caught:
                    _ = [i async for i in harvest(http, BASE, Known(), query="grp:birds")]
                assert "key=***" in str(caught.value)
                monkeypatch.delenv("XENO_CANTO_KEY")
                with pytest.raises(Denied, match="Set XENO_CANTO_KEY"):
                    XenoCantoClient(http, BASE, {})

    asyncio.run(body())
