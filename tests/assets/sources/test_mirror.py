"""The mirror against the local upstream: incremental, gated, verified, and deaf to one bad item."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from assets.sources.catalog import Entry, load_catalog
from assets.sources.checks import CHECKS, gated, not_empty, objects_held, traceable
from assets.sources.describe import cell, describe
from assets.sources.mirror import SourceUnavailable, Summary, mirror, parameters_of
from assets.sources.rights import rights_of
from assets.sources.rows import Gate, known_from, row_of
from assets.sources.schema import Row, items_of, objects_of, write_items
from resources.http import HttpClient
from resources.items import Item
from resources.manifest import Manifest
from resources.settings import PROJECT
from resources.store import Store
from tests.resources.upstream import Running, running

GATE = Gate("", None, rights_of(None), "")
ENTRIES = {e.name: e for e in load_catalog(PROJECT / "deploy" / "local" / "catalog.yaml")}


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.setenv("XENO_CANTO_KEY", "test-key")
    with running(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def calm_upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """For tests that change nothing upstream."""
    with running(tmp_path_factory.mktemp("upstream")) as started:
        yield started


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri())


def harvest(upstream: Running, store: Store, entry: Entry, **options: object) -> tuple[Manifest, Summary]:
    name = f"sources/{entry.name}"
    with store.writer(name, parameters=parameters_of(entry)) as writer:
        summary = mirror(entry, upstream.http(**options), store, store.head(name), writer)
    return writer.manifest, summary


def rows(store: Store, manifest: Manifest) -> dict[str, Row]:
    return {row["item_id"]: row for row in items_of(store, manifest)}


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_a_second_harvest_asks_little_and_gives_the_same_version(
    name: str, calm_upstream: Running, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = calm_upstream
    monkeypatch.setenv("XENO_CANTO_KEY", "test-key")
    first, summary = harvest(upstream, store, ENTRIES[name])
    assert summary.statuses.get("live", 0) > 0
    for check in CHECKS.values():
        verdict = check(store, first)
        assert verdict.passed, verdict.description
    upstream.requests()
    second, again = harvest(upstream, store, ENTRIES[name])
    assert second.version == first.version
    assert again.outcomes.get("new", 0) == again.outcomes.get("changed", 0) == 0
    assert upstream.requests() <= 6
    metadata = describe(store, second)
    assert metadata["dagster/row_count"] == summary.rows
    assert "127.0.0.1" not in store.read_file(first, "manifest.parquet").decode("latin-1")


def test_forbidden_items_are_not_even_fetched(upstream: Running, store: Store) -> None:
    manifest, _ = harvest(upstream, store, ENTRIES["essays"])
    found = rows(store, manifest)
    forbidden = [r for r in found.values() if not r["may_train"] and r["status"] == "excluded"]
    assert {r["licence"] for r in forbidden} == {
        None,
        "CC-BY-NC-ND-4.0",
        "LicenseRef-All-Rights-Reserved",
    }
    assert all(r["reason"] and r["sha256"] is None for r in forbidden)
    asked = upstream.control("stats")["requests"]
    for row in forbidden:
        assert row["url"].removeprefix(upstream.upstream.origin) not in asked


def test_troublemakers_are_named_and_the_rest_comes(upstream: Running, store: Store) -> None:
    manifest, _ = harvest(upstream, store, ENTRIES["notes"])
    found = rows(store, manifest)
    assert "SHA-256" in found["notes/wrong-checksum"]["reason"]
    assert "empty" in found["notes/empty-file"]["reason"]
    assert "robots.txt" in found["notes/private-diary"]["reason"]
    assert not gated(store, manifest).description.startswith("0")


def test_changes_and_deletions_arrive(upstream: Running, store: Store) -> None:
    entry = ENTRIES["essays"]
    before = rows(store, harvest(upstream, store, entry)[0])
    live = sorted(k for k, r in before.items() if r["status"] == "live" and "/files/" in r["url"])
    ids = [k.removeprefix("essays/") for k in live]
    upstream.control("delete", id=ids[0], date="2999-01-01T00:00:00Z")
    upstream.control("change", b"A new text about life.\n", id=ids[1], date="2999-01-02T00:00:00Z")
    manifest, summary = harvest(upstream, store, entry)
    after = rows(store, manifest)
    assert after[live[0]]["status"] == "gone" and after[live[0]]["sha256"] is None
    assert store.read_object(after[live[1]]["sha256"]) == b"A new text about life.\n"
    assert summary.outcomes["changed"] == 1
    assert {k: after[k] for k in live[2:]} == {k: before[k] for k in live[2:]}
    assert before[live[0]]["sha256"] not in list(store.references(manifest))


def test_the_list_loses_a_file(upstream: Running, store: Store) -> None:
    entry = ENTRIES["pictures"]
    before = rows(store, harvest(upstream, store, entry)[0])
    name = min(before).removeprefix("pictures/")
    upstream.control("delete", id=name)
    after = rows(store, harvest(upstream, store, entry)[0])
    assert after[f"pictures/{name}"]["status"] == "gone"


def test_broken_transfers_do_not_change_the_result(upstream: Running, tmp_path: Path) -> None:
    calm = Store.open((tmp_path / "calm").as_uri())
    rough = Store.open((tmp_path / "rough").as_uri())
    expected, _ = harvest(upstream, calm, ENTRIES["recordings"])
    upstream.control("faults", b"/*download=truncate*3;/*download=reset:5000*2@4;/api/3/*=503:0*1")
    got, _ = harvest(upstream, rough, ENTRIES["recordings"])
    assert got.version == expected.version


def test_an_item_without_answer_is_retried_later(upstream: Running, store: Store) -> None:
    entry = ENTRIES["recordings"]
    upstream.control("faults", b"/900001/download=500")
    manifest, _ = harvest(upstream, store, entry, attempts=2)
    row = rows(store, manifest)["recordings/XC900001"]
    assert row["status"] == "damaged" and json.loads(row["metadata"])["retry"] is True
    upstream.control("faults", b"")
    again, _ = harvest(upstream, store, entry)
    whole = Store.open(f"{store.uri}-whole")
    assert rows(store, again)["recordings/XC900001"]["status"] == "live"
    assert again.version == harvest(upstream, whole, entry)[0].version


def test_an_upstream_that_is_down_publishes_nothing(upstream: Running, store: Store) -> None:
    entry = ENTRIES["essays"]
    before, _ = harvest(upstream, store, entry)
    upstream.control("faults", b"/oai=html")
    with pytest.raises(SourceUnavailable, match=r"'essays'.*sample\.luca\.test/oai"):
        harvest(upstream, store, entry)
    upstream.control("faults", b"/*=503")
    with pytest.raises(SourceUnavailable, match="again"):
        harvest(upstream, store, entry, attempts=2)
    head = store.head("sources/essays")
    assert head is not None and head.version == before.version
    with store.writer("sources/essays") as writer, pytest.raises(SourceUnavailable):
        gone = HttpClient(routes={upstream.upstream.origin: "http://127.0.0.1:1"}, attempts=1)
        mirror(entry, gone, store, before, writer)


def test_limits(upstream: Running, store: Store) -> None:
    entry = ENTRIES["pictures"]
    small = entry.model_copy(update={"limits": entry.limits.model_copy(update={"items": 3})})
    manifest, summary = harvest(upstream, store, small)
    assert summary.rows == 3 and summary.left_out >= 1
    light = entry.model_copy(update={"limits": entry.limits.model_copy(update={"item_bytes": 10})})
    manifest, _ = harvest(upstream, store, light)
    assert {r["status"] for r in items_of(store, manifest)} == {"excluded"}
    assert not not_empty(store, manifest).passed


def test_a_lost_object_is_found_by_the_check_and_fetched_again(upstream: Running, store: Store) -> None:
    entry = ENTRIES["pictures"]
    manifest, _ = harvest(upstream, store, entry)
    row = next(r for r in items_of(store, manifest) if r["status"] == "live")
    store.object_path(row["sha256"]).unlink()
    assert not objects_held(store, manifest).passed
    again, _ = harvest(upstream, store, entry)
    assert objects_held(store, again).passed and again.version == manifest.version


def test_labels_come_with_the_pictures(upstream: Running, store: Store) -> None:
    manifest, _ = harvest(upstream, store, ENTRIES["terrain"])
    live = [r for r in items_of(store, manifest) if r["status"] == "live"]
    for row in live:
        metadata = json.loads(row["metadata"])
        assert metadata["label_sha256"] in objects_of(row)
        assert store.read_object(metadata["label_sha256"]).startswith(b"<?xml")
    assert traceable(store, manifest).passed


def test_the_key_is_nowhere_in_the_store(upstream: Running, store: Store, tmp_path: Path) -> None:
    harvest(upstream, store, ENTRIES["recordings"])
    for path in (tmp_path / "store").rglob("*"):
        assert not path.is_file() or b"test-key" not in path.read_bytes()


def test_text_from_upstream_cannot_break_a_table() -> None:
    assert cell("a|b\n<script>`x`") == "a&#124;b &#60;script&#62;&#96;x&#96;"


def test_a_date_from_the_future_does_not_blind_the_source() -> None:
    rows = {
        f"essays/{n}": row_of(ENTRIES["essays"], Item(n, datestamp=stamp), GATE, "live")
        for n, stamp in (("a", "2025-03-01"), ("b", "9999-12-31"), ("c", "2025/03/02"))
    }
    assert known_from(ENTRIES["essays"], rows, "2025-03-01T10:00:00+00:00").high_water == "2025/03/02"
    assert known_from(ENTRIES["essays"], rows, "").high_water == "9999-12-31"


def test_what_no_table_can_hold_does_not_reach_one() -> None:
    row = row_of(ENTRIES["essays"], Item("a\ud800", title="\udfff", metadata={"k": "\ud800"}), GATE, "live")
    assert (row["item_id"], row["title"], row["metadata"]) == ("essays/a?", "?", '{"k":"?"}')
    write_items(io.BytesIO(), [row])


def test_upstream_does_not_say_what_we_hold() -> None:
    stated = {"label_sha256": "0" * 64, "x_sha256": "none", "retry": True, "shelf": 7}
    row = row_of(ENTRIES["essays"], Item("a", metadata=stated), GATE, "live") | {"sha256": "1" * 64}
    assert objects_of(row) == ["1" * 64]
    assert json.loads(row["metadata"]) == {
        "label_sha256_stated": "0" * 64,
        "x_sha256_stated": "none",
        "retry_stated": True,
        "shelf": 7,
    }
