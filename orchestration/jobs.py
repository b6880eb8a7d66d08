"""The jobs that people launch, one per part of the life; `lifecycle` is all of them in one run."""

from __future__ import annotations

import dagster as dg

from assets.partitions import recipe_partitions
from resources.settings import Settings

CURATED = ("documents", "mixture")
TRAINED = ("tokens", "checkpoints")


# Heavy work runs in worker processes (resources/compute.py) or in launched jobs; a process per step besides
# costs 2 to 3 CPU-s each, for starting and importing. Measured in docs/decisions.md.
IN_PROCESS = dg.in_process_executor


def executor() -> dg.ExecutorDefinition:
    """The location's default, and that of `refresh`: steps side by side, since mirrors wait for the network.

    A process per step, forked from one that has the code location loaded.
    """
    return dg.multiprocess_executor.configured(
        {"start_method": {"forkserver": {"preload_modules": ["orchestration.definitions"]}}}
    )


def lifecycle_jobs(settings: Settings) -> list[dg.UnresolvedAssetJobDefinition]:  # type: ignore[name-defined]
    """refresh, curate, train, evaluate, release, lifecycle; the last four take a recipe as partition."""
    recipes = recipe_partitions(settings)
    groups = dg.AssetSelection.groups
    return [
        dg.define_asset_job(
            "refresh",
            groups("sources"),
            description="Ask every enabled source for what changed; fetch only that.",
        ),
        dg.define_asset_job(
            "curate",
            groups(*CURATED),
            executor_def=IN_PROCESS,
            description="Read, clean and de-duplicate what the mirrors hold; plan the mixture.",
        ),
        dg.define_asset_job(
            "train",
            groups(*TRAINED),
            partitions_def=recipes,
            executor_def=IN_PROCESS,
            description="Vocabulary, shards, then pre-training and instruction tuning of one recipe.",
        ),
        dg.define_asset_job(
            "evaluate",
            groups("evaluations"),
            partitions_def=recipes,
            executor_def=IN_PROCESS,
            description="Perplexity, probes and the evaluation card of one recipe.",
        ),
        dg.define_asset_job(
            "release",
            groups("endpoint"),
            partitions_def=recipes,
            executor_def=IN_PROCESS,
            description="Pass the gate, roll vLLM and the gateway to one recipe's model.",
        ),
        dg.define_asset_job(
            "lifecycle",
            dg.AssetSelection.all(),
            partitions_def=recipes,
            executor_def=IN_PROCESS,
            description="From the sources to a served model, for one recipe; what is unchanged is adopted.",
        ),
    ]
