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


def test_rows_that_json_can_spell_and_lines_cannot(tmp_path: Path) -> None:
    items = parse_index('{"url": "a", "title": "x\u2028y"}\n{"url": "b"}\n'.encode(), "http://h/l")
    assert [i.title for i in items] == ["x\u2028y", ""]
    for body, match in (
        (b'{"url": "http://[x"}', "field 'url'"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff", "not JSON"),
    ):
        with pytest.raises(BadResponse, match=f"line 1: {match}"):
            parse_index(body, "http://h/l")


def test_another_host_without_robots_costs_its_own_items_only(tmp_path: Path) -> None:
    async def body() -> None:
        with running(tmp_path) as upstream:
            async with upstream.http() as http:
                known = Known(ids=frozenset({"127.0.0.1:1/held"}))
                urls = ("ftp://far.test/x", "http://127.0.0.1:1/held", "notes/none.txt")
                http.attempts = 1
                items = [i async for i in harvest(http, "http://sample.luca.test/", known, urls=urls)]
                assert [i.upstream_id for i in items] == ["far.test/x", "sample.luca.test/notes/none.txt"]
                assert items[0].denied.startswith("robots.txt of its origin") and not items[1].denied

    asyncio.run(body())
