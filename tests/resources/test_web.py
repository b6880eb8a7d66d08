"""Lists of files: rows, their errors, robots.txt."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from resources.http_errors import BadResponse
from resources.items import Known
from resources.robots import parse_robots
from resources.web import harvest, parse_index
from tests.resources.upstream import running


def test_rows() -> None:
    (item,) = parse_index(
        b'\n{"url": "a/b.txt", "licence": "CC0-1.0", "bytes": 3, "sha256": "00", "shelf": 7}\n', "http://h/l"
    )
    assert (item.upstream_id, item.url, item.size, item.version) == ("h/a/b.txt", "http://h/a/b.txt", 3, "00")
    assert item.licence_stated == ("CC0-1.0",) and item.metadata == {"shelf": 7}


@pytest.mark.parametrize(
    ("row", "match"),
    [
        (b"{", "line 1: not JSON"),
        (b"[]", "field 'url' is missing"),
        (b'{"url": "x", "bytes": "3"}', "field 'bytes'"),
        (b'{"url": "x", "title": 3}', "field 'title'"),
        (b'{"url": "x", "licence": []}', "field 'licence'"),
        (b'{"url": "x"}\n{"url": "x"}', "line 2: id .* twice"),
        (b"<!doctype html><html>", "HTML page"),
    ],
)
def test_bad_rows_are_named(row: bytes, match: str) -> None:
    with pytest.raises(BadResponse, match=match):
        parse_index(row, "http://h/l")


def test_robots() -> None:
    rules = parse_robots("User-agent: *\nDisallow: /private/\nContent-Signal: search=yes, ai-train=no\n")
    assert rules.reserves_training
    assert rules.allows("http://h/x") and not rules.allows("http://h/private/x")
    assert not parse_robots("User-agent: *\nAllow: /\nContent-Signal: ai-train=yes").reserves_training


def test_the_upstream_list_and_what_left_it(tmp_path: Path) -> None:
    async def body() -> None:
        with running(tmp_path) as upstream:
            async with upstream.http() as http:
                index = "http://sample.luca.test/lists/notes.jsonl"
                known = Known(ids=frozenset({"old"}))
                items = [i async for i in harvest(http, "http://sample.luca.test", known, index=index)]
                assert {i.upstream_id: i.deleted for i in items}["old"] == "the list no longer names it"
                assert any("robots.txt" in i.denied for i in items)
                assert http.requests == 2

    asyncio.run(body())
