"""Ask for curation when a source changed and its checks passed."""

from __future__ import annotations

import dagster as dg

CURATED = dg.AssetSelection.groups("documents", "mixture")


def changed_and_checked() -> dg.AutomationCondition:  # type: ignore[type-arg]
    """True once an input's data version changed, and every input's blocking checks passed.

    The data version, not the mere materialization: a refresh that found nothing new asks for nothing.
    """
    changed = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
    return (
        changed.since_last_handled()
        & dg.AutomationCondition.all_deps_blocking_checks_passed()
        & ~dg.AutomationCondition.any_deps_missing()
        & ~dg.AutomationCondition.any_deps_in_progress()
        & ~dg.AutomationCondition.in_progress()
    ).with_label("an input changed and its checks passed")


def curate_when_sources_change(defs: dg.Definitions) -> dg.Definitions:
    """Give every documents and mixture asset the condition, in one place."""
    return defs.map_resolved_asset_specs(
        selection=CURATED,
        func=lambda spec: spec.replace_attributes(automation_condition=changed_and_checked()),
    )


def automation_sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions; on from the start, since it asks for nothing until a source changes."""
    return dg.AutomationConditionSensorDefinition(
        name="curate_when_sources_change",
        target=CURATED,
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
    )
