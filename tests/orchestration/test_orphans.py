"""What the orphan sensor makes of each kind of job that lost somebody. Real jobs, a real instance."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from assets.resources import LauncherResource
from orchestration.orphans import COUNT_TAG, MOST_REATTACHMENTS, orphan_sensor
from resources.launcher import Job, LocalLauncher, Program
from resources.processes import myself, send, tagged

Status = dg.DagsterRunStatus


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(tmp_path / "jobs", grace_seconds=0.2)
    yield launcher
    for job in launcher.jobs():
        for process in tagged(job.directory):
            send(process, signal.SIGKILL)


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    folder = tmp_path_factory.mktemp("dagster")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield instance


def sleeping_job(launcher: LocalLauncher, run_id: str | None, kind: Any = "job", **follower: Any) -> Job:
    """A running job that this run follows (or nobody)."""
    program = Program((sys.executable, "-c", "import time; time.sleep(600)"))
    job = launcher.submit("k", program, {"run": {"dagster_run_id": run_id} if run_id else {}}, kind)
    if run_id:
        facts = {"asset_key": ["checkpoints", "pretrained"], "partition_key": "tiny", **follower}
        job.follow({"dagster_run_id": run_id, **facts})
    while job.state != "running":
        time.sleep(0.02)
    return job


def tick(launcher: LocalLauncher, instance: dg.DagsterInstance, lost_seconds: float = 60) -> Any:
    context = dg.build_sensor_context(
        instance=instance, resources={"launcher": LauncherResource(root=str(launcher.root))}
    )
    return orphan_sensor(lost_follower_seconds=lost_seconds)(context)


def test_nothing_is_done_where_nothing_is_lost(launcher: LocalLauncher, instance: dg.DagsterInstance) -> None:
    assert tick(launcher, instance).skip_reason.skip_message == "no orphaned job"
    run = create_run_for_test(instance, status=Status.STARTED)
    job = sleeping_job(launcher, run.run_id, process=myself().to_json())
    assert tick(launcher, instance, 0).skip_reason.skip_message == "no orphaned job"
    assert job.state == "running"


def test_jobs_started_by_hand_and_services_are_left_alone(
    launcher: LocalLauncher, instance: dg.DagsterInstance
) -> None:
    job = sleeping_job(launcher, None)
    assert tick(launcher, instance).skip_reason.skip_message == "no orphaned job"
    launcher.cancel("k")
    run = create_run_for_test(instance, status=Status.CANCELED)
    job = sleeping_job(launcher, run.run_id, kind="service")
    assert tick(launcher, instance).skip_reason.skip_message == "no orphaned job"
    assert job.state == "running"


def test_the_job_of_a_cancelled_run_is_ended(launcher: LocalLauncher, instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, status=Status.CANCELED)
    job = sleeping_job(launcher, run.run_id)
    assert "was cancelled" in tick(launcher, instance).skip_reason.skip_message
    assert job.state == "cancelled"
    assert tick(launcher, instance).skip_reason.skip_message == "no orphaned job"


def test_the_job_of_a_failed_or_deleted_run_gets_another(
    launcher: LocalLauncher, instance: dg.DagsterInstance
) -> None:
    run = create_run_for_test(instance, status=Status.FAILURE, tags={COUNT_TAG: "2"})
    job = sleeping_job(launcher, run.run_id)
    (request,) = tick(launcher, instance).run_requests
    assert request.asset_selection == [dg.AssetKey(["checkpoints", "pretrained"])]
    assert request.partition_key == "tiny"
    assert request.tags[COUNT_TAG] == "3"
    (same,) = tick(launcher, instance).run_requests
    assert same.run_key == request.run_key  # Dagster starts one run for one run key
    assert job.state == "running"
    instance.delete_run(run.run_id)
    (request,) = tick(launcher, instance).run_requests
    assert request.tags[COUNT_TAG] == "1"


def test_re_attaching_ends_somewhere(launcher: LocalLauncher, instance: dg.DagsterInstance) -> None:
    run = create_run_for_test(instance, status=Status.FAILURE, tags={COUNT_TAG: str(MOST_REATTACHMENTS)})
    sleeping_job(launcher, run.run_id)
    assert "lost its run" in tick(launcher, instance).skip_reason.skip_message


def test_a_run_whose_worker_is_gone_is_marked_failed(
    launcher: LocalLauncher, instance: dg.DagsterInstance
) -> None:
    run = create_run_for_test(instance, status=Status.STARTED)
    gone = {**myself().to_json(), "start": 1}
    job = sleeping_job(launcher, run.run_id, process=gone)
    assert tick(launcher, instance, 0.2).skip_reason.skip_message == "no orphaned job"  # noticed, not judged
    time.sleep(0.3)
    assert "marked failed" in tick(launcher, instance, 0.2).skip_reason.skip_message
    found = instance.get_run_by_id(run.run_id)
    assert found is not None and found.status == Status.FAILURE
    assert job.state == "running"
    assert tick(launcher, instance).run_requests


def test_what_a_killed_supervisor_left_is_ended_and_the_asset_asked_for_anew(
    launcher: LocalLauncher, instance: dg.DagsterInstance
) -> None:
    run = create_run_for_test(instance, status=Status.FAILURE)
    job = sleeping_job(launcher, run.run_id)
    supervisor = job.record.supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    while job.state != "lost":
        time.sleep(0.02)
    assert len(tick(launcher, instance).run_requests) == 1
    assert job.record.state == "lost" and tagged(job.directory) == []


def test_a_job_that_failed_by_itself_is_not_brought_back(
    launcher: LocalLauncher, instance: dg.DagsterInstance
) -> None:
    run = create_run_for_test(instance, status=Status.FAILURE)
    job = launcher.submit("k", Program((sys.executable, "-c", "raise SystemExit(1)")), {})
    job.follow({"dagster_run_id": run.run_id, "asset_key": ["a"]})
    assert job.wait(poll=0.02, timeout=30) == "failed"
    assert tick(launcher, instance).skip_reason.skip_message == "no orphaned job"
