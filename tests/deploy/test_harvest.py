"""The sample's catalogue, harvested by the real mirror: what comes, what stays out, what a refresh costs."""

from __future__ import annotations

import io
import json
import urllib.request
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from assets.sources.catalog import Entry, load_catalog
from assets.sources.mirror import mirror, parameters_of
from assets.sources.schema import MANIFEST
from deploy.local.stand import SAMPLE, Upstream
from resources.http import HttpClient
from resources.store import Store


def harvest(entry: Entry, store: Store, upstream: Upstream) -> dict[str, dict[str, Any]]:
    """One refresh of one entry; the rows of its manifest by item id."""
    name = f"sources/{entry.name}"
    with store.writer(name, parameters=parameters_of(entry)) as writer:
        mirror(entry, HttpClient(routes={upstream.origin: upstream.url}), store, store.head(name), writer)
    manifest = store.head(name)
    assert manifest is not None
    table = pq.read_table(io.BytesIO(store.read_file(manifest, MANIFEST)))
    return {row["item_id"]: row for row in table.to_pylist()}


def ask(upstream: Upstream, path: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(upstream.url + path, data=body), timeout=20) as answer:
        return json.loads(answer.read())


def test_the_whole_catalogue_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENO_CANTO_KEY", "a-key-for-tests")
    upstream = Upstream.start(log=tmp_path / "upstream.log")
    store = Store.open((tmp_path / "store").as_uri())
    try:
        entries = load_catalog(SAMPLE.parent / "catalog.yaml")
        rows = {key: row for entry in entries for key, row in harvest(entry, store, upstream).items()}
        kept_out = {key: row["status"] for key, row in rows.items() if row["status"] != "live"}
        assert kept_out == {
            "articles/PMC9900004": "excluded",
            "essays/oai:sample.luca.test:essays/all-rights-reserved-essay": "excluded",
            "essays/oai:sample.luca.test:essays/ethics-of-making-life": "excluded",
            "essays/oai:sample.luca.test:essays/no-licence-essay": "excluded",
            "essays/oai:sample.luca.test:essays/withdrawn-essay": "gone",
            "notes/empty-file": "damaged",
            "notes/private-diary": "denied",
            "notes/wrong-checksum": "damaged",
            "recordings/XC900010": "excluded",
            "recordings/XC900011": "denied",
            "terrain/urn:nasa:pds:luca_terrain:terrain_07": "damaged",
        }
        assert all(row["reason"] for row in rows.values() if row["status"] != "live")
        assert all(row["may_train"] for row in rows.values() if row["status"] == "live")
        # Nothing of a closed path and nothing without a licence was even asked for.
        asked = ask(upstream, "/_upstream/stats?reset=1")["requests"]
        assert not [path for path in asked if "private" in path or "no-licence" in path or "nd-4.0" in path]

        versions = {entry.name: store.head(f"sources/{entry.name}") for entry in entries}
        for entry in entries:
            harvest(entry, store, upstream)
        again = ask(upstream, "/_upstream/stats?reset=1")
        assert [
            p for p in again["requests"] if p.startswith("/files/") and "wrong" not in p and "empty" not in p
        ] == []
        for entry in entries:
            head, before = store.head(f"sources/{entry.name}"), versions[entry.name]
            assert head is not None and before is not None and head.version == before.version, entry.name

        essays = next(entry for entry in entries if entry.name == "essays")
        identifier = "oai:sample.luca.test:essays/reduction"
        ask(upstream, f"/_upstream/delete?id={identifier}&date=2030-01-01T00:00:00Z")
        assert harvest(essays, store, upstream)[f"essays/{identifier}"]["status"] == "gone"
    finally:
        upstream.stop()
