"""`luca store`: what it prints and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestration.cli import main
from orchestration.commands.store import size
from resources.store import Store


@pytest.fixture
def stocked(tmp_path: Path) -> Store:
    """A store with two versions of one artifact and one of another."""
    store = Store.open((tmp_path / "store").as_uri())
    for i in range(2):
        with store.writer("sources/books", parameters={"i": i}) as w:
            w.add("manifest.parquet", b"%d" % i * 2000)
            w.figures["rows"] = 7
    with store.writer("documents/books", inputs={"sources/books": w.manifest.version}) as w:
        w.add("documents.parquet", b"rows")
    return store


def run(store: Store, *arguments: str, code: int = 0) -> str:
    environment = {"LUCA_STORE": store.uri, "COLUMNS": "160"}
    result: Result = CliRunner().invoke(main, ["store", *arguments], env=environment)
    assert result.exit_code == code, result.output
    return result.output


def test_ls(stocked: Store) -> None:
    out = run(stocked, "ls")
    assert "sources/books" in out and "2 kB" in out and "documents/books" in out
    versions = stocked.versions("sources/books")
    assert versions[0] not in out and versions[1] in out
    out = run(stocked, "ls", "sources/", "--versions")
    assert (
        versions[0] in out
        and re.search(f"{versions[1]} +current", out)
        and "not current" in out
        and "documents" not in out
    )
    lines = run(stocked, "ls", "--json").splitlines()
    assert [json.loads(line)["name"] for line in lines] == ["documents/books", "sources/books"]
    assert "No artifacts under endpoint/" in run(stocked, "ls", "endpoint/")


def test_what_failed_its_checks_is_marked(stocked: Store) -> None:
    with stocked.writer("mixture/plan", promote=False) as w:
        w.add("plan.parquet", b"")
    assert re.search(f"{w.manifest.version} +not current", run(stocked, "ls", "mixture/"))
    stocked.hold(w.manifest, ["balanced"])
    assert re.search(f"{w.manifest.version} +held: balanced", run(stocked, "ls", "mixture/"))
    assert "no problems" in run(stocked, "verify"), "a version without HEAD is nothing broken"
    stocked.adopt(w.manifest)
    assert f"{w.manifest.version} (current)" in run(stocked, "show", "mixture/plan")


def test_show(stocked: Store) -> None:
    head = stocked.head("documents/books")
    assert head is not None
    out = run(stocked, "show", "documents/books")
    assert f"{head.version} (current)" in out and f"sources/books: {head.inputs['sources/books']}" in out
    old = stocked.versions("sources/books")[0]
    out = run(stocked, "show", f"sources/books@{old}")
    assert "not current" in out and "rows: 7" in out
    assert run(stocked, "show", "documents/books", "--json").encode() == head.to_json()
    assert "it has: documents/books, sources/books" in run(stocked, "show", "nope", code=1)
    assert f"it has: {old}" in run(stocked, "show", "sources/books@" + "0" * 16, code=1)
    assert "hex digits" in run(stocked, "show", "sources/books@latest", code=1)


def test_verify_and_discard(stocked: Store) -> None:
    assert "3 artifacts, 3 objects" in run(stocked, "verify")
    manifest = stocked.head("documents/books")
    assert manifest is not None
    path = stocked.file_path(manifest, "documents.parquet")
    path.chmod(0o644)
    path.write_bytes(b"sowr")
    assert "no problems" in run(stocked, "verify", "--quick"), "the size is right"
    assert "no problems" in run(stocked, "verify", "sources/books")
    out = run(stocked, "verify", "documents/books", "--discard", code=1)
    assert "damaged" in out and "1 problem" in out and f"removed damaged object {path.name}" in out
    assert "missing" in run(stocked, "verify", "--quick", code=1)
    with stocked.writer("documents/books", inputs=manifest.inputs) as w:
        w.add("documents.parquet", b"rows")
    assert w.manifest == manifest and "no problems" in run(stocked, "verify")
    assert "no artifact 'nope'" in run(stocked, "verify", "nope", code=1)


def test_gc(stocked: Store) -> None:
    stocked.put_object(b"orphan")
    assert "removed 0 versions, 0 objects" in run(stocked, "gc")
    old = stocked.versions("sources/books")[0]
    out = run(stocked, "gc", "--keep", "1", "--grace", "0", "--dry-run")
    assert f"would remove sources/books@{old}" in out
    out = run(stocked, "gc", "--keep", "1", "--grace", "0")
    assert f"removed sources/books@{old}" in out and "removed 1 versions, 2 objects" in out
    assert stocked.versions("sources/books") != [old] and "no problems" in run(stocked, "verify")
    assert run(stocked, "gc", "--keep", "0", code=2)
    assert run(stocked, "gc", "--grace", "-1", code=2)


def test_an_odd_store_is_a_clear_error() -> None:
    result = CliRunner().invoke(main, ["store", "ls", "--store", "ftp://x"])
    assert result.exit_code == 1 and "file:///folder or s3://bucket/prefix" in result.output


def test_size() -> None:
    assert [size(n) for n in (0, 999, 1000, 12_345_678, 10**16)] == [
        "0 B",
        "999 B",
        "1 kB",
        "12.3 MB",
        "1e+04 TB",
    ]
