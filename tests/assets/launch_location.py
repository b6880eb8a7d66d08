"""A code location with one launched asset and the orphan sensor, for tests/assets/test_launch*.py."""

import os
from pathlib import Path
from typing import Any

import dagster as dg

from assets.launch import launch
from assets.resources import LauncherResource, StoreResource
from orchestration.orphans import orphan_sensor

NAME = "checkpoints/thing"


def location(root: Path, mode: str, grace_seconds: float = 0.5, **extra: Any) -> dg.Definitions:
    """``root`` holds the store and the jobs."""

    @dg.asset(key=NAME.split("/"), pool="gpu", group_name="checkpoints")
    def thing(
        context: dg.AssetExecutionContext, store: StoreResource, launcher: LauncherResource
    ) -> dg.MaterializeResult[Any]:
        jobs = launcher.open()
        jobs.grace_seconds = grace_seconds
        return launch(
            context,
            store.open(),
            jobs,
            NAME,
            "tests.assets.launch_program",
            inputs={},
            parameters={"mode": mode},
            code="1",
            describe=lambda store, manifest: {"text": store.read_file(manifest, "text.txt").decode()},
            **extra,
        )

    return dg.Definitions(
        assets=[thing],
        jobs=[dg.define_asset_job("make", dg.AssetSelection.all(), executor_def=executor())],
        sensors=[orphan_sensor(1, lost_follower_seconds=3)] if "LUCA_TEST_SENSOR" in os.environ else [],
        resources={
            "store": StoreResource(uri=(root / "store").as_uri()),
            "launcher": LauncherResource(root=str(root / "jobs")),
        },
    )


def executor() -> dg.ExecutorDefinition:
    """In the run worker itself, or a step worker of its own: LUCA_TEST_EXECUTOR says."""
    return {"in_process": dg.in_process_executor, "multiprocess": dg.multiprocess_executor}[
        os.environ.get("LUCA_TEST_EXECUTOR", "in_process")
    ]


if "LUCA_TEST_ROOT" in os.environ:
    defs = location(Path(os.environ["LUCA_TEST_ROOT"]), "wait")
