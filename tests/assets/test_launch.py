"""A launched asset in one process: make, adopt, fail, be interrupted."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from assets.launch import progress_line
from resources.launcher import Job, LocalLauncher
from resources.processes import send, tagged
from resources.store import Store
from tests.assets.launch_location import NAME, location


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    folder = tmp_path_factory.mktemp("dagster")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        yield instance


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path: Path) -> Iterator[None]:
    yield
    for job in LocalLauncher(tmp_path / "jobs", 0.1).jobs():
        for process in tagged(job.directory):
            send(process, signal.SIGKILL)


def run(
    root: Path, mode: str, instance: dg.DagsterInstance, raise_on_error: bool = False
) -> dg.ExecuteInProcessResult:
    job = location(root, mode).resolve_job_def("make")
    return job.execute_in_process(instance=instance, raise_on_error=raise_on_error)


def the_job(root: Path) -> Job:
    (job,) = LocalLauncher(root / "jobs").jobs()
    return job


def materialization(result: dg.ExecuteInProcessResult) -> dg.AssetMaterialization:
    (found,) = result.asset_materializations_for_node("checkpoints__thing")
    return found


def why(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = [e.step_failure_data for e in result.all_node_events if e.is_step_failure]
    assert failure.user_failure_data is not None
    return failure.user_failure_data.description or ""


def test_it_is_made_once_and_adopted_after(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    first = materialization(run(tmp_path, "publish", instance))
    second = materialization(run(tmp_path, "publish", instance))
    assert (tmp_path / "jobs").is_dir() and (the_job(tmp_path).directory / "starts").read_text() == "start\n"
    assert [m.metadata["reused"].value for m in (first, second)] == [False, True]
    assert first.tags["dagster/data_version"] == second.tags["dagster/data_version"]
    assert first.metadata["text"].value == second.metadata["text"].value == "made in mode publish"
    store = Store.open((tmp_path / "store").as_uri())
    head = store.head(NAME)
    assert head is not None and head.key == the_job(tmp_path).key
    assert the_job(tmp_path).follower() is None


def test_an_artifact_that_is_gone_is_made_again(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    assert run(tmp_path, "publish", instance).success
    store = Store.open((tmp_path / "store").as_uri())
    head = store.head(NAME)
    assert head is not None
    store.delete_artifact(NAME, head.version)
    assert store.cached(NAME, head.key or "") is None
    assert run(tmp_path, "publish", instance).success
    assert the_job(tmp_path).record.attempt == 2
    assert store.cached(NAME, head.key or "") is not None


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    result = run(tmp_path, "fail", instance)
    assert not result.success
    assert "exit status 3" in why(result) and "the cause of it all" in why(result)
    assert the_job(tmp_path).follower() is None


def test_success_without_the_artifact_is_a_failure(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    result = run(tmp_path, "silent", instance)
    assert not result.success
    assert f"published no {NAME} with key {the_job(tmp_path).key}" in why(result)


def test_200_kb_of_output_block_nothing(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    assert run(tmp_path, "loud", instance).success
    assert the_job(tmp_path).log_path.stat().st_size > 200_000


def interrupted_run(root: Path, instance: dg.DagsterInstance, cancelling: bool) -> None:
    """Start a run whose job waits; once it does, interrupt this process as Dagster would."""

    def interrupt() -> None:
        jobs = LocalLauncher(root / "jobs")
        while not (jobs.jobs() and (jobs.jobs()[0].directory / "grandchild").exists()):
            time.sleep(0.05)
        (run,) = instance.get_runs(limit=1)
        if cancelling:
            instance.report_run_canceling(run)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises((dg.DagsterExecutionInterruptedError, KeyboardInterrupt)):
            run(root, "wait", instance, raise_on_error=True)
    finally:
        thread.join()


def test_a_users_cancel_ends_the_whole_tree(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    interrupted_run(tmp_path, instance, cancelling=True)
    job = the_job(tmp_path)
    assert job.state == "cancelled"
    deadline = time.monotonic() + 10
    while tagged(job.directory):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_shutdown_leaves_the_job_and_the_next_run_attaches(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    interrupted_run(tmp_path, instance, cancelling=False)
    job = the_job(tmp_path)
    assert job.state == "running"
    (job.directory / "go").touch()
    assert run(tmp_path, "wait", instance).success
    assert (job.directory / "starts").read_text() == "start\n"
    assert (job.directory / "publications").read_text() == "published\n"


def test_progress_reads_as_a_line() -> None:
    assert progress_line(None) == ""
    assert progress_line({"stage": "pretrain", "done": 1200, "total": 4000, "unit": "steps"}) == (
        "pretrain 1,200/4,000 steps"
    )
    assert progress_line({"stage": "load", "message": "weights"}) == "load: weights"
