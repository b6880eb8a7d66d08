"""Put the code location together; a test can build the whole of it on a temporary store."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from assets.checkpoints.defs import stage_definitions as checkpoints
from assets.documents.defs import stage_definitions as documents
from assets.endpoint.defs import stage_definitions as endpoint
from assets.evaluations.defs import stage_definitions as evaluations
from assets.mixture.defs import stage_definitions as mixture
from assets.resources import default_resources
from assets.sources.defs import stage_definitions as sources
from assets.tokens.defs import stage_definitions as tokens
from orchestration.automation import automation_sensor, curate_when_sources_change
from orchestration.jobs import executor, lifecycle_jobs
from orchestration.orphans import orphan_sensor
from orchestration.schedules import refresh_schedules
from resources.settings import Settings

STAGES = (sources, documents, mixture, tokens, checkpoints, evaluations, endpoint)


def build_defs(
    settings: Settings | None = None, resources: Mapping[str, object] | None = None
) -> dg.Definitions:
    """The whole location for these settings (default: the environment's), with resources overridden."""
    settings = settings or Settings.from_environment()
    whole = dg.Definitions.merge(
        *(stage(settings) for stage in STAGES),
        dg.Definitions(
            resources={**default_resources(settings), **(resources or {})},
            jobs=lifecycle_jobs(settings),
            schedules=refresh_schedules(settings),
            sensors=[automation_sensor(), orphan_sensor()],
            executor=executor(),
        ),
    )
    return curate_when_sources_change(whole)
