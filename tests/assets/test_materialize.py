"""Adopt, build, check, promote: and a failed check holds across runs."""

from pathlib import Path

import dagster as dg
import pytest

from assets.materialize import Verdict, check_specs, publish, require
from assets.resources import StoreResource
from resources.manifest import Manifest
from resources.store import ArtifactWriter, Store

KEY = ["documents", "thing"]


def location(tmp_path: Path, content: str, built: list[str]) -> dg.Definitions:
    """An asset whose check fails on the content "bad", and one that depends on it."""

    def good(store: Store, manifest: Manifest) -> Verdict:
        """The content is good."""
        text = store.read_file(manifest, "text.txt").decode()
        return Verdict(text != "bad", f"it says {text}")

    checks = {"good": good}

    @dg.asset(key=KEY, check_specs=check_specs(KEY, checks))
    def thing(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:
        def build(writer: ArtifactWriter) -> None:
            built.append(content)
            writer.add("text.txt", content.encode())

        return publish(
            context,
            store.open(),
            "documents/thing",
            inputs={},
            parameters={"content": content},
            code="1",
            build=build,
            describe=lambda store, manifest: {"dagster/row_count": 1},
            checks=checks,
        )

    @dg.asset(key=["mixture", "next"], deps=[dg.AssetKey(KEY)])
    def after(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:
        manifest = require(context, store.open(), "documents/thing")
        return dg.MaterializeResult(metadata={"saw": manifest.version})

    return dg.Definitions(
        assets=[thing, after], resources={"store": StoreResource(uri=(tmp_path / "store").as_uri())}
    )


def run(defs: dg.Definitions, selection: str, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = dg.Definitions.merge(
        defs, dg.Definitions(jobs=[dg.define_asset_job("chosen", selection)])
    ).resolve_job_def("chosen")
    return job.execute_in_process(instance=instance, raise_on_error=False)


def test_the_second_run_adopts(tmp_path: Path) -> None:
    built: list[str] = []
    defs = location(tmp_path, "fine", built)
    with dg.DagsterInstance.ephemeral() as instance:
        first = run(defs, "*", instance)
        second = run(defs, "*", instance)
    assert first.success
    assert second.success
    assert built == ["fine"]
    versions = {
        result.asset_materializations_for_node("documents__thing")[0].tags["dagster/data_version"]
        for result in (first, second)
    }
    assert len(versions) == 1


def test_a_failed_check_blocks_in_the_run_and_across_runs(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert run(location(tmp_path, "fine", []), "*", instance).success
        assert not run(location(tmp_path, "bad", []), "*", instance).success
        held = run(location(tmp_path, "bad", []), 'key:"mixture/next"', instance)
        assert not held.success
        failure = held.failure_data_for_node("mixture__next")
        assert failure is not None
        assert failure.error is not None
        assert "failed good" in str(failure.error)
        # Mended: the hold is lifted, and what depends on it runs again.
        assert run(location(tmp_path, "fine", []), "*", instance).success
    assert Store.open((tmp_path / "store").as_uri()).held("documents/thing") is None


def test_a_missing_input_names_what_to_do(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = run(location(tmp_path, "fine", []), 'key:"mixture/next"', instance)
    failure = result.failure_data_for_node("mixture__next")
    assert failure is not None
    assert failure.error is not None
    assert "Materialize it first" in str(failure.error)


@pytest.mark.parametrize("name", ["documents/thing"])
def test_held_is_never_head(tmp_path: Path, name: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run(location(tmp_path, "bad", []), "*", instance)
    store = Store.open((tmp_path / "store").as_uri())
    assert store.head(name) is None
    held = store.held(name)
    assert held is not None
    assert held["checks"] == ["good"]
