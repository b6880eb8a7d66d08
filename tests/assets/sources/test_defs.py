"""The sources assets in Dagster: a page that tells, checks that block, a failure that names the mend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from assets.resources import HttpResource, StoreResource
from assets.sources.defs import stage_definitions
from resources.settings import PROJECT, Settings
from tests.resources.upstream import Running, running


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path) as started:
        yield started


def materialize(
    settings: Settings, name: str, tmp_path: Path, routes: dict[str, str], instance: dg.DagsterInstance
) -> dg.ExecuteInProcessResult:
    assets = list(stage_definitions(settings).assets or [])
    return dg.materialize(
        assets,  # type: ignore[arg-type]
        selection=dg.AssetSelection.assets(dg.AssetKey(["sources", name])),
        resources={
            "store": StoreResource(uri=(tmp_path / "store").as_uri()),
            "http": HttpResource(routes=routes),
        },
        instance=instance,
        raise_on_error=False,
    )


def test_a_source_in_dagster(upstream: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUCA_TRANSFERS", str(tmp_path / "transfers"))
    settings = replace(
        Settings.from_environment({"LUCA_HOME": str(tmp_path)}),
        catalog=PROJECT / "deploy" / "local" / "catalog.yaml",
    )
    routes = {upstream.upstream.origin: upstream.upstream.url}
    with dg.DagsterInstance.ephemeral() as instance:
        versions = []
        for unchanged in (False, True):
            result = materialize(settings, "notes", tmp_path, routes, instance)
            assert result.success
            (event,) = result.get_asset_materialization_events()
            materialization = event.materialization
            metadata = materialization.metadata
            assert metadata["reused"].value is unchanged
            assert "wrong" in str(metadata["set_aside"].value)
            assert metadata["dagster/row_count"].value > 40
            assert "CC" in str(metadata["licences"].value)
            versions.append(metadata["version"].value)
            checks = result.get_asset_check_evaluations()
            assert {c.check_name for c in checks} == {"not_empty", "objects_held", "traceable", "gated"}
            assert all(c.passed and c.blocking for c in checks)
        assert versions[0] == versions[1]
        upstream.control("faults", b"/lists/*=403")
        result = materialize(settings, "notes", tmp_path, routes, instance)
        assert not result.success
        (failure,) = [e for e in result.all_events if e.is_step_failure]
        data = failure.step_failure_data.user_failure_data
        assert data is not None and "'notes'" in (data.description or "")
        assert "/lists/notes.jsonl" in (data.description or "") and "mend" in (data.description or "")


def test_every_enabled_entry_is_an_asset_with_its_policy() -> None:
    settings = Settings.from_environment({})
    definitions = stage_definitions(settings)
    specs = {spec.key.path[1]: spec for a in definitions.assets or [] for spec in a.specs}  # type: ignore[union-attr]
    assert "ecoli_genome" in specs and "philarchive" not in specs
    for spec in specs.values():
        assert spec.group_name == "sources" and spec.owners == ["team:data-engineering"]
        assert spec.freshness_policy is not None and spec.kinds and spec.description
