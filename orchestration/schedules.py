"""Refresh each source at the cadence its catalogue entry states, at night."""

from __future__ import annotations

import dagster as dg

from assets.sources.catalog import load_catalog
from resources.settings import Settings

# Minutes apart, so that cadences which fall on one night do not start together. Times are UTC.
CRON = {"daily": "10 2 * * *", "weekly": "20 2 * * 1", "monthly": "30 2 1 * *"}


def refresh_schedules(settings: Settings) -> list[dg.ScheduleDefinition]:
    """A schedule per cadence in use, over the enabled sources of that cadence."""
    entries = [entry for entry in load_catalog(settings.catalog) if entry.enabled]
    schedules = []
    for cadence, cron in CRON.items():
        names = [entry.name for entry in entries if entry.cadence == cadence]
        if not names:
            continue
        selection = dg.AssetSelection.assets(*(dg.AssetKey(["sources", name]) for name in names))
        schedules.append(
            dg.ScheduleDefinition(
                name=f"refresh_{cadence}",
                cron_schedule=cron,
                execution_timezone="UTC",
                job=dg.define_asset_job(f"refresh_{cadence}", selection),
                description=f"Ask the {cadence} sources for what changed.",
            )
        )
    return schedules
