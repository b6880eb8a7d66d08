"""The whole life in one run, as `make demo` runs it: on a folder, again, and on a real S3.

The slowest tests of all: three runs of minutes each.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from deploy.local.stand import SAMPLE
from resources.settings import PROJECT
from resources.store import Store
from tests.seaweed import Seaweed, seaweed
from training.trace import trace

pytestmark = pytest.mark.slow
RECIPE = "tiny"
BUCKET = "s3://luca/lifecycle"
FOREVER = 1500


@dataclass(frozen=True)
class Run:
    """One `luca demo`: where it worked, and what it said."""

    home: Path
    store: Store
    output: str

    @property
    def versions(self) -> dict[str, str]:
        heads = {name: self.store.head(name) for name in self.store.names()}
        return {
            name: manifest.version
            for name, manifest in heads.items()
            if manifest and not name.endswith("/partial")
        }


def demo(home: Path, server: Seaweed | None = None) -> Run:
    """Run `luca demo --stop` with its home, and unless on a server its store, in `home`."""
    environment = {
        **os.environ,
        **(server.environment if server else {}),
        "LUCA_HOME": str(home),
    }
    if server:
        environment["LUCA_STORE"] = BUCKET
    command = [sys.executable, "-m", "orchestration.cli", "demo", "--recipe", RECIPE, "--stop"]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=FOREVER,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    store = (
        Store.open(BUCKET, s3_client=server.client(), cache=home / "cache")
        if server
        else Store.open((home / "store").as_uri())
    )
    return Run(home, store, done.stdout)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return demo(tmp_path_factory.mktemp("life"))


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("weed")) as server:
        yield server


def table(store: Store, name: str, file: str) -> list[dict[str, object]]:
    manifest = store.head(name)
    assert manifest is not None, name
    rows: list[dict[str, object]] = pq.read_table(io.BytesIO(store.read_file(manifest, file))).to_pylist()
    return rows


def test_it_ends_with_a_served_traced_answer(first: Run) -> None:
    assert "Where the answer's longest passages stand" in first.output
    assert "learned a small collection by heart" in first.output
    assert "card.html" in first.output
    for stage in ("sources", "documents", "mixture", "tokens", "checkpoints", "evaluations", "endpoint"):
        assert any(name.startswith(f"{stage}/") for name in first.versions), stage


def test_what_is_forbidden_or_damaged_is_listed_and_in_no_shard(first: Run) -> None:
    store = first.store
    barred: dict[str, str] = {}
    for name in store.names("sources/"):
        for row in table(store, name, "manifest.parquet"):
            if row["status"] != "live" or not row["may_train"]:
                assert row["reason"], f"{row['item_id']} has no reason"
                barred[str(row["item_id"])] = str(row["status"])
    assert {"excluded", "damaged", "denied", "gone"} <= set(barred.values())
    listed = {
        row["item_id"] for name in store.names("documents/") if name != "documents/unique"
        for row in table(store, name, "rejected.parquet")
    }  # fmt: skip
    assert set(barred) <= listed
    trained = {str(row["document_id"]) for row in table(store, "tokens/shards", "documents.parquet")}
    windows = {
        document for row in table(store, "tokens/shards", "index.parquet")
        for document in row["document_ids"]  # type: ignore[attr-defined]
    }  # fmt: skip
    traced = {str(row["document_id"]) for row in table(store, "tokens/trace_index", "documents.parquet")}
    held_out = {str(row["document_id"]) for row in table(store, "tokens/heldout", "documents.parquet")}
    assert trained and held_out
    for documents in (trained, windows, traced, held_out):
        assert not {document.rsplit("#", 1)[0] for document in documents} & set(barred)


@pytest.mark.parametrize(
    ("item", "words", "trained"),
    [
        ("essays/ethics-of-making-life.html", "Those who build cells from parts are sometimes told", False),
        ("essays/all-rights-reserved-essay.html", "A lichen on a churchyard wall may be older than", False),
        ("essays/no-licence-essay.html", "The word organism once meant organisation, the way", False),
        ("private/diary.txt", "This page stands below a path that robots.txt closes", False),
        ("essays/what-is-alive.html", "A definition of life can fail in two ways.", True),
    ],
)
def test_no_words_of_what_is_forbidden_were_trained_on(
    first: Run, item: str, words: str, trained: bool
) -> None:
    assert words in " ".join((SAMPLE / item).read_text().split())
    assert any(words in span.text for span in trace(first.store, words).spans) is trained


def test_the_held_out_documents_are_in_no_shard(first: Run) -> None:
    held_out = {str(row["document_id"]) for row in table(first.store, "tokens/heldout", "documents.parquet")}
    trained = {str(row["document_id"]) for row in table(first.store, "tokens/shards", "documents.parquet")}
    assert held_out
    assert not held_out & trained


def test_the_store_is_whole(first: Run) -> None:
    report = first.store.verify()
    assert not report.problems


def test_a_second_run_recomputes_nothing(first: Run) -> None:
    before = first.versions
    again = demo(first.home)
    assert "Nothing was recomputed" in again.output
    assert again.versions == before


def test_on_s3_every_version_is_the_same(first: Run, s3: Seaweed, tmp_path: Path) -> None:
    on_s3 = demo(tmp_path, s3)
    assert on_s3.versions == first.versions
