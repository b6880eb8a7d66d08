"""endpoint/release: a recipe's model, served. A run deploys and ends; the services stay."""

# No `from __future__ import annotations`: Dagster reads the types of config and result at definition.

import dagster as dg

from assets.endpoint.describe import CHECKS
from assets.materialize import check_specs
from assets.partitions import recipe_partitions
from assets.resources import LauncherResource, StoreResource
from resources.code_version import code_version
from resources.settings import Settings

KEY = ["endpoint", "release"]


class ReleaseConfig(dg.Config):
    """What a person may set for one release."""

    smoke_question: str | None = None


def stage_definitions(settings: Settings) -> dg.Definitions:
    """The stage's assets for these settings."""

    @dg.asset(
        key=KEY,
        group_name="endpoint",
        partitions_def=recipe_partitions(settings),
        deps=[
            dg.AssetKey(["checkpoints", "instructed"]),
            dg.AssetKey(["evaluations", "card"]),
            dg.AssetKey(["tokens", "trace_index"]),
        ],
        check_specs=check_specs(KEY, CHECKS),
        kinds={"vllm", "json"},
        owners=["team:sre"],
        code_version=code_version("assets.endpoint", "serving.vllm_service", "serving.chat"),
        description=(
            "The recipe's model behind the gateway. Checks the evaluation gate, starts vLLM on the "
            "instructed checkpoint, asks and traces a smoke question, then moves the alias over. "
            "The release before it answers until then, and goes on if this one is refused."
        ),
    )
    def release(
        context: dg.AssetExecutionContext,
        config: ReleaseConfig,
        store: StoreResource,
        launcher: LauncherResource,
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from assets.endpoint.release import release as deploy_release

        return deploy_release(
            context,
            store.open(),
            launcher.open(),
            home=settings.home,
            recipes=settings.recipes,
            smoke_question=config.smoke_question,
        )

    return dg.Definitions(assets=[release])
