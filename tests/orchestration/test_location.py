"""The code location: what it holds, how light it loads, which way its arrows point."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest

from resources.settings import PROJECT

HEAVY = ("torch", "deepspeed", "transformers", "vllm", "webdataset")

PROBE = f"""
import resource, sys
import orchestration.definitions
heavy = [name for name in {HEAVY!r} if name in sys.modules]
usage = resource.getrusage(resource.RUSAGE_SELF)
print(",".join(heavy) or "none", usage.ru_utime + usage.ru_stime)
"""


def test_loading_imports_nothing_heavy_and_is_quick() -> None:
    probes = [
        subprocess.run(
            [sys.executable, "-c", PROBE], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert {heavy for heavy, _ in probes} == {"none"}
    # The first load may compile; CPU time, so that a busy machine does not fail it.
    assert min(float(seconds) for _, seconds in probes) <= 2.0


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    from orchestration.build import build_defs

    return build_defs()


def test_every_stage_is_a_group_and_a_key_prefix(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    groups = {graph.get(key).group_name for key in graph.get_all_asset_keys()}
    assert groups == {
        "sources",
        "documents",
        "mixture",
        "tokens",
        "checkpoints",
        "evaluations",
        "endpoint",
    }
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert key.path[0] == node.group_name, key
        assert node.owners, f"{key} has no owner"
        assert node.kinds, f"{key} has no kind"
        assert node.description, f"{key} has no description"


def test_every_asset_has_a_blocking_check(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        checks = graph.get_check_keys_for_assets({key})
        assert checks, f"{key.to_user_string()} has no check"
        assert any(graph.get(check).blocking for check in checks), key


def test_jobs_cover_the_life(defs: dg.Definitions) -> None:
    for name in ("refresh", "curate", "train", "evaluate", "release", "lifecycle"):
        assert defs.resolve_job_def(name).name == name
    lifecycle = defs.resolve_job_def("lifecycle").asset_layer.selected_asset_keys
    assert lifecycle == defs.resolve_asset_graph().get_all_asset_keys()


def test_recipes_are_partitions(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for stage in (
        ["checkpoints", "pretrained"],
        ["checkpoints", "instructed"],
        ["evaluations", "card"],
        ["endpoint", "release"],
    ):
        partitions = graph.get(dg.AssetKey(stage)).partitions_def
        assert partitions is not None
        assert "tiny" in partitions.get_partition_keys()
