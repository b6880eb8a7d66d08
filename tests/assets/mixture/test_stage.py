"""Documents and mixture through Dagster on a temporary store: checks, metadata, adoption."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from assets.documents import defs as documents
from assets.mixture import defs as mixture
from assets.resources import ComputeResource, StoreResource
from resources.settings import Settings
from resources.store import Store
from tests.assets.documents.helpers import item_row, publish_source, table

WORDS = [
    f"{kind}{part}"
    for kind in ("moss", "fern", "alga", "wren")
    for part in ("leaf", "root", "song", "spore", "bed")
]


def entry(name: str, tier: str) -> dict[str, Any]:
    return {
        "name": name,
        "title": f"Source {name}",
        "protocol": "web",
        "base_url": "http://sample.luca.test/",
        "query": {"index": "http://sample.luca.test/list.jsonl"},
        "domain": "biology",
        "modality": "text",
        "dimension": "factual",
        "language": "en",
        "region": "global",
        "tradition": "none",
        "licence": {"rule": "fixed", "spdx": "CC0-1.0", "evidence": "a test"},
        "attribution": "Nobody",
        "citation": "None",
        "contact": "nobody@example.org",
        "cadence": "weekly",
        "tier": tier,
        "enabled": True,
        "reason": "a test",
    }


def prose(seed: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=160))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    catalog = tmp_path / "catalog.yaml"
    catalog.write_text(yaml.safe_dump({"sources": [entry("canon", "canonical"), entry("tail", "long_tail")]}))
    return Settings.from_environment({"LUCA_HOME": str(tmp_path), "LUCA_CATALOG": str(catalog)})


def run(settings: Settings) -> tuple[dg.ExecuteInProcessResult, dict[str, Mapping[str, Any]]]:
    assets = [
        *(documents.stage_definitions(settings).assets or ()),
        *(mixture.stage_definitions(settings).assets or ()),
    ]
    result = dg.materialize(
        assets,  # type: ignore[arg-type]
        resources={"store": StoreResource(uri=settings.store), "compute": ComputeResource(workers=1)},
        raise_on_error=False,
    )
    events = [event.materialization for event in result.get_asset_materialization_events()]
    return result, {m.asset_key.to_user_string(): m.metadata for m in events}


def fill_store(settings: Settings) -> Store:
    store = Store.open(settings.store)
    canon = [item_row(store, f"t{i:02d}", prose(i).encode()) for i in range(12)]
    tail = [
        item_row(store, "copy", prose(3).encode()),
        item_row(
            store, "near", prose(4).replace(" ", ", ", 3).replace("wrenbed", "a wren's bed", 1).encode()
        ),
        item_row(store, "own", prose(99).encode()),
        item_row(store, "secret", b"secret words", may_train=False, status="excluded", reason="NC"),
    ]
    for name, rows in (("canon", canon), ("tail", tail)):
        publish_source(
            store, [r | {"item_id": r["item_id"].replace("test", name)} for r in rows], f"sources/{name}"
        )
    return store


def test_documents_and_mixture_run_and_adopt(settings: Settings) -> None:
    store = fill_store(settings)
    result, metadata = run(settings)
    assert result.success
    assert len(result.get_asset_check_evaluations()) == 9
    assert all(e.passed for e in result.get_asset_check_evaluations())
    plan = store.head("mixture/plan")
    unique = store.head("documents/unique")
    assert plan is not None and unique is not None
    dropped = {r["document_id"]: r for r in table(store, unique, "decisions.parquet") if not r["keep"]}
    assert {n: (r["reason"], r["duplicate_of"]) for n, r in dropped.items()} == {
        "tail/copy#000000": ("exact_duplicate", "canon/t03#000000"),
        "tail/near#000000": ("near_duplicate", "canon/t04#000000"),
    }
    planned = table(store, plan, "plan.parquet")
    assert len(planned) == 13 and not any("secret" in r["document_id"] for r in planned)
    assert "excluded" in metadata["documents/tail"]["rejected"].value  # type: ignore[union-attr]
    assert metadata["documents/canon"]["dagster/row_count"].value == 12
    assert "data:image/png;base64," in metadata["mixture/plan"]["plot"].value  # type: ignore[union-attr]
    assert {"plan.parquet", "strata.parquet", "README.md", "mixture.svg", "mixture.png"} == {
        f.name for f in plan.files
    }

    again, second = run(settings)
    assert again.success and all(m["reused"].value for m in second.values())
    assert [m["version"] for m in second.values()] == [m["version"] for m in metadata.values()]
    for name, values in metadata.items():
        assert second[name]["preview"] == values["preview"], name


def test_a_table_of_nothing_is_held_and_stops_what_depends_on_it(settings: Settings) -> None:
    store = fill_store(settings)
    publish_source(store, [item_row(store, "x", None, status="gone") | {"item_id": "tail/x"}], "sources/tail")
    result, metadata = run(settings)
    assert not result.success and "mixture/plan" not in metadata
    assert store.held("documents/tail") is not None and store.head("documents/unique") is None
    failed = [e.check_name for e in result.get_asset_check_evaluations() if not e.passed]
    assert failed == ["well_formed"]
