"""Automation and schedules: what asks for a refresh, and what asks for curation."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import pytest

from orchestration.automation import changed_and_checked, curate_when_sources_change
from orchestration.build import build_defs
from orchestration.schedules import CRON

SOURCE, TABLE = dg.AssetKey(["sources", "a"]), dg.AssetKey(["documents", "a"])


def location(version: str, passed: bool = True) -> dg.Definitions:
    """A source at a version whose blocking check passes or not, and the table that depends on it."""

    @dg.asset(
        key=SOURCE,
        group_name="sources",
        check_specs=[dg.AssetCheckSpec("whole", asset=SOURCE, blocking=True)],
    )
    def source() -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(version), check_results=[dg.AssetCheckResult(passed=passed)]
        )

    @dg.asset(key=TABLE, group_name="documents", deps=[SOURCE])
    def table() -> dg.MaterializeResult:  # type: ignore[type-arg]
        return dg.MaterializeResult(data_version=dg.DataVersion("t"))

    return curate_when_sources_change(dg.Definitions(assets=[source, table]))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def test_curation_is_asked_for_once_a_source_changed_and_its_checks_passed(
    instance: dg.DagsterInstance,
) -> None:
    cursor = None

    def refresh(version: str, passed: bool = True, *, table: bool = False) -> dg.Definitions:
        defs = location(version, passed)
        assets = list(defs.assets or [])
        selection = [SOURCE, TABLE] if table else [SOURCE]
        dg.materialize(assets, selection=selection, instance=instance, raise_on_error=False)  # type: ignore[arg-type]
        return defs

    def asked(defs: dg.Definitions) -> bool:
        nonlocal cursor
        result = dg.evaluate_automation_conditions(defs, instance, cursor=cursor)
        cursor = result.cursor
        return result.get_num_requested(TABLE) > 0

    assert not asked(location("1"))  # nothing is there yet
    assert not asked(refresh("1", table=True))  # a whole lifecycle ran: the table is made already
    assert not asked(refresh("1"))  # a refresh that found nothing new
    assert asked(refresh("2"))
    assert not asked(location("2"))  # asked for already
    assert not asked(refresh("3", passed=False))  # a blocking check failed
    assert asked(refresh("4"))


def test_documents_and_mixture_alone_have_the_condition() -> None:
    graph = build_defs().resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        condition = graph.get(key).automation_condition
        wanted = key.path[0] in ("documents", "mixture")
        assert (condition is not None) == wanted, key
        if condition is not None:
            assert condition.get_label() == changed_and_checked().get_label()


def test_every_enabled_source_is_refreshed_by_one_schedule() -> None:
    defs = build_defs()
    graph = defs.resolve_asset_graph()
    refreshed: list[dg.AssetKey] = []
    for cadence, cron in CRON.items():
        if not any(s.name == f"refresh_{cadence}" for s in defs.schedules or ()):
            continue
        assert defs.resolve_schedule_def(f"refresh_{cadence}").cron_schedule == cron
        refreshed += defs.resolve_job_def(f"refresh_{cadence}").asset_layer.selected_asset_keys
    sources = [key for key in graph.get_all_asset_keys() if key.path[0] == "sources"]
    assert sources and sorted(refreshed) == sorted(sources)
