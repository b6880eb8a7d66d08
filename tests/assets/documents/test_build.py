"""From a source to its table: what must not be read is listed, what fails is named, bytes are the same."""

from __future__ import annotations

import gzip
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assets.documents import build as building
from assets.documents.build import build_documents, is_trainable, pool_for, scrub
from assets.documents.checks import traceable, well_formed
from assets.documents.dispatch import is_plain
from assets.documents.parts import Part, RawItem
from assets.documents.schema import DOCUMENTS
from assets.tables import TableWriter, write_table
from resources.compute import LocalCompute
from resources.manifest import Manifest
from resources.store import Store
from tests.assets.documents.helpers import item_row, publish_source, table

PROSE = "A tide pool is a room with a lid of water. Twice a day the lid is lifted. "


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri())


def documents(store: Store, source: Manifest, workers: int = 0) -> Manifest:
    with store.writer("documents/test", inputs={source.name: source.version}) as writer:
        build_documents(store, source, "test", LocalCompute(workers=workers), writer)
    return writer.manifest


def rows(store: Store) -> list[dict[str, Any]]:
    dialogue = {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Tides."}]}
    return [
        item_row(store, "prose", PROSE.encode()),
        item_row(
            store, "book", ("# One\n\n" + (PROSE * 8 + "\n\n") * 60).encode(), media_type="text/markdown"
        ),
        item_row(
            store, "forged", "Text with \U000f0041\U000f0042 and \ue000 in it, and more words.".encode()
        ),
        item_row(store, "genome", b">g\nACGT\n>bad\nAC?T\n", media_type="text/x-fasta", modality="dna"),
        item_row(store, "talk", json.dumps(dialogue).encode() + b"\n{\n", modality="dialogue"),
        item_row(
            store, "broken-picture", b"\x89PNG\r\n\x1a\nnothing", media_type="image/png", modality="image"
        ),
        item_row(store, "hash#in#id", PROSE.encode() * 2),
        item_row(
            store, "not-ours", b"secret words", may_train=False, licence="CC-BY-NC-ND-4.0", reason="NC, ND"
        ),
        item_row(store, "no-licence", b"secret words", licence=None),
        item_row(store, "gone", None, status="gone", reason="withdrawn upstream"),
        item_row(store, "damaged", None, status="damaged", reason="checksum differs"),
        item_row(store, "excluded", None, status="excluded", reason="all rights reserved", may_train=False),
    ]


def test_everything_is_a_document_or_listed_with_its_reason(store: Store) -> None:
    source = publish_source(store, rows(store))
    made = documents(store, source)
    found = table(store, made, "documents.parquet")
    rejected = {
        (r["item_id"].removeprefix("test/"), r["reason"]) for r in table(store, made, "rejected.parquet")
    }
    assert rejected == {
        ("genome", "invalid_letter"),
        ("talk", "bad_json"),
        ("broken-picture", "damaged"),
        ("not-ours", "no_training"),
        ("no-licence", "no_licence"),
        ("gone", "gone"),
        ("damaged", "damaged"),
        ("excluded", "excluded"),
    }
    by_item: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        by_item.setdefault(row["item_id"].removeprefix("test/"), []).append(row)
    assert by_item.keys() == {"prose", "book", "forged", "genome", "talk", "hash#in#id"}
    assert len(by_item["book"]) > 1 and all(r["characters"] <= 20_000 for r in by_item["book"])
    assert by_item["book"][0]["document_id"] == "test/book#000000"
    assert by_item["hash#in#id"][0]["document_id"] == "test/hash%23in%23id#000000"
    assert by_item["forged"][0]["text"] == "Text with \ufffd\ufffd and \ufffd in it, and more words."
    assert by_item["talk"][0]["kind"] == "dialogue"
    assert by_item["talk"][0]["text"] == "user: Why?\nassistant: Tides."
    assert not any("secret" in (r["text"] or "") for r in found)
    for check in (well_formed, traceable):
        assert check(store, made).passed, check(store, made).description


def test_the_number_of_workers_changes_no_byte(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    source = publish_source(store, rows(store))
    here = documents(store, source)
    monkeypatch.setattr(building, "pool_for", lambda compute, _: compute)
    assert [f.sha256 for f in documents(store, source, 2).files] == [f.sha256 for f in here.files]
    assert [f.sha256 for f in documents(store, source, 1).files] == [f.sha256 for f in here.files]


def hanging(item: RawItem) -> Iterator[Part]:
    """A reader that hangs, dies or raises, as the item asks."""
    order = item.path.read_text().strip()
    if order == "hang":
        time.sleep(600)
    if order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if order == "raise":
        raise RuntimeError("no such luck")
    yield Part(text="A calm text that is read.")


def patched_read(store: Store, source: str, work: building.Work) -> building.Done:
    """`read_item` with the troublesome reader, in the worker's own process."""
    from assets.documents import dispatch

    dispatch._LOADERS["plain"] = lambda: hanging
    return building_read_item(store, source, work)


building_read_item = building.read_item


def test_a_hanging_or_dying_reader_never_stops_the_rest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = publish_source(store, [item_row(store, n, n.encode()) for n in ("calm", "die", "hang", "raise")])
    monkeypatch.setattr(building, "pool_for", lambda compute, _: compute)
    monkeypatch.setattr(building, "read_item", patched_read)
    monkeypatch.setattr(building, "ITEM_TIMEOUT_SECONDS", 10)
    made = documents(store, source, workers=2)
    found = {r["item_id"]: r["reason"] for r in table(store, made, "rejected.parquet")}
    assert [r["item_id"] for r in table(store, made, "documents.parquet")] == ["test/calm"], found
    assert found == {"test/die": "worker_killed", "test/hang": "timeout", "test/raise": "reader_error"}


def test_checks_see_what_is_wrong(store: Store) -> None:
    source = publish_source(store, rows(store))
    good = table(store, documents(store, source), "documents.parquet")

    def republished(found: list[dict[str, Any]]) -> Manifest:
        inputs = {source.name: source.version}
        with (
            store.writer("documents/test", inputs=inputs) as writer,
            writer.open("documents.parquet") as sink,
            TableWriter(sink, DOCUMENTS) as out,
        ):
            for row in found:
                out.write(row)
        return writer.manifest

    assert not well_formed(store, republished([])).passed
    assert not well_formed(store, republished([good[0], good[0]])).passed
    for field, value in (("text", "\U000f0041"), ("kind", "poem"), ("characters", 3)):
        assert not well_formed(store, republished([good[0] | {field: value}])).passed
    for field, value in (
        ("item_id", "test/not-ours"),
        ("item_id", "test/none"),
        ("licence", "MIT"),
        ("raw_sha256", "0"),
    ):
        assert not traceable(store, republished([good[0] | {field: value}])).passed


def test_small_plain_sources_are_read_in_this_process() -> None:
    compute = LocalCompute(workers=4)
    assert pool_for(compute, [{"bytes": 10, "media_type": "text/plain; charset=utf-8"}]).workers == 0
    assert pool_for(compute, [{"bytes": 10, "media_type": "application/pdf"}]).workers == 1
    assert pool_for(compute, [{"bytes": 2**30, "media_type": "application/pdf"}]).workers == 4


def test_only_live_licensed_trainable_items_are_read() -> None:
    row = {"status": "live", "may_train": True, "sha256": "0" * 64, "licence": "CC0-1.0"}
    assert is_trainable(row)
    for change in ({"status": "gone"}, {"may_train": False}, {"sha256": None}, {"licence": None}):
        assert not is_trainable(row | change)


def test_messages_name_no_path_of_this_machine() -> None:
    path = Path("/srv/store/objects/ab/abc")
    assert (
        scrub("cannot open '/srv/store/objects/ab/abc' at 0x7f0011223344", path)
        == "cannot open 'the file' at 0x…"
    )
    assert scrub("Error opening /tmp/luca-x1/item: no") == "Error opening the file: no"


def test_tables_refuse_disorder_and_unknown_columns(tmp_path: Path) -> None:
    import io

    from assets.documents.schema import REJECTED

    row = {"item_id": "b", "part": "", "reason": "x", "detail": None}
    with pytest.raises(ValueError, match="must ascend"):
        write_table(io.BytesIO(), REJECTED, [row, row | {"item_id": "a"}], ("item_id",))
    with pytest.raises(ValueError, match="unknown columns"):
        write_table(io.BytesIO(), REJECTED, [row | {"extra": 1}])


def full_disk(store: Store, source: str, work: building.Work) -> building.Done:
    """`read_item` on a full disk."""
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_no_fault_of_the_items(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    source = publish_source(store, [item_row(store, "calm", b"A calm text that is read.")])
    monkeypatch.setattr(building, "read_item", full_disk)
    with pytest.raises(building.MachineFault, match=r"test/calm: OSError: .*No space"):
        documents(store, source)
    assert store.head("documents/test") is None


def test_a_bomb_under_a_plain_name_is_opened_in_a_worker(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[int] = []

    class Noted(LocalCompute):
        def map(self, *arguments: Any, **options: Any) -> Any:
            used.append(self.workers)
            return super().map(*arguments, **options)

    source = publish_source(
        store,
        [item_row(store, "text", b"A calm text."), item_row(store, "bomb", gzip.compress(bytes(1 << 20)))],
    )
    with store.writer("documents/test") as writer:
        building.build_documents(store, source, "test", Noted(2), writer)
    assert used == [1]
    assert is_plain(b"A calm text.", "text/plain", "", "text") and not is_plain(
        b"%PDF-1.4", "text/plain", "", ""
    )
