"""Whatever is killed, a re-run ends in one publication and no orphan. Real code server, real daemon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.remote_representation.external import RemoteJob
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget

from resources.launcher import Job, LocalLauncher
from resources.processes import Process, send, tagged
from resources.store import Store
from tests.assets.launch_location import NAME

pytestmark = pytest.mark.slow

INSTANCE = """
telemetry: {enabled: false}
run_monitoring:
  enabled: true
  poll_interval_seconds: 1
  cancel_timeout_seconds: 20
  free_slots_after_run_end_seconds: 1
concurrency:
  pools: {default_limit: 1, granularity: op}
"""


@dataclass
class Cluster:
    """A Dagster on this machine: its instance folder, a code server and, on request, the daemon."""

    root: Path
    executor: str
    sensor: bool = False
    port: int = 0
    servers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DAGSTER_HOME": str(self.root / "dagster"),
            "LUCA_TEST_ROOT": str(self.root),
            "LUCA_TEST_EXECUTOR": self.executor,
            **({"LUCA_TEST_SENSOR": "1"} if self.sensor else {}),
        }

    def spawn(self, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.root / "servers.txt").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.servers.append(process)
        return process

    def start_code_server(self) -> subprocess.Popen[bytes]:
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        server = self.spawn(
            "dagster", "api", "grpc", "--host", "127.0.0.1", "--port", str(self.port),
            "--module-name", "tests.assets.launch_location", "--location-name", "test",
        )  # fmt: skip
        until(lambda: self.answers(server), 90)
        return server

    def answers(self, server: subprocess.Popen[bytes]) -> bool:
        from dagster._grpc.client import DagsterGrpcClient

        assert server.poll() is None, (self.root / "servers.txt").read_text()[-3000:]
        try:
            DagsterGrpcClient(host="127.0.0.1", port=self.port).ping("hello")
        except Exception:
            return False
        return True

    def start_daemon(self) -> None:
        (self.root / "workspace.yaml").write_text(
            f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {self.port}, location_name: test}}\n"
        )
        self.spawn("dagster._daemon", "run", "-w", str(self.root / "workspace.yaml"))

    def launch(self, instance: dg.DagsterInstance) -> str:
        """Start a run of the job ``make`` on the code server, as the UI does; returns its id."""
        target = GrpcServerTarget(host="127.0.0.1", port=self.port, socket=None, location_name="test")
        with WorkspaceProcessContext(instance, target) as process:
            request = process.create_request_context()
            location = request.get_code_location("test")
            repository = next(iter(location.get_repositories().values()))
            job: RemoteJob = repository.get_full_job("make")
            plan = location.get_execution_plan(job, {}, step_keys_to_execute=None, known_state=None)
            run = instance.create_run(
                job_name="make",
                run_id=None,
                run_config={},
                status=dg.DagsterRunStatus.NOT_STARTED,
                tags={},
                root_run_id=None,
                parent_run_id=None,
                step_keys_to_execute=None,
                execution_plan_snapshot=plan.execution_plan_snapshot,
                job_snapshot=job.job_snapshot,
                parent_job_snapshot=None,
                asset_selection=None,
                asset_check_selection=None,
                resolved_op_selection=None,
                op_selection=None,
                remote_job_origin=job.get_remote_origin(),
                job_code_origin=job.get_python_origin(),
                asset_graph=repository.asset_graph,
            )
            instance.launch_run(run.run_id, request)
            return run.run_id

    def job(self) -> Job:
        (job,) = LocalLauncher(self.root / "jobs").jobs()
        return job

    def until_job_waits(self) -> Job:
        jobs = self.root / "jobs"
        until(lambda: [f for f in jobs.glob("*/grandchild") if f.read_text()], 90)
        until(lambda: (self.job().follower() or {}).get("dagster_run_id"))
        return self.job()

    def step_worker(self) -> psutil.Process:
        """The process that follows the job."""
        process = Process.from_json((self.job().follower() or {}).get("process"))
        assert process is not None
        return psutil.Process(process.pid)

    def run_worker(self, server: subprocess.Popen[bytes]) -> psutil.Process:
        """The child of the code server above the step worker, or the step worker itself."""
        (found,) = [p for p in self.lineage() if p.ppid() == server.pid]
        return found

    def lineage(self) -> list[psutil.Process]:
        step = self.step_worker()
        return [step, *step.parents()]


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


@pytest.fixture(params=["multiprocess", "in_process"])
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, request.param)
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text(INSTANCE)
    try:
        yield cluster
    finally:
        for server in cluster.servers:
            if server.poll() is None:
                for process in psutil.Process(server.pid).children(recursive=True):
                    process.kill()
            server.kill()
            server.wait()
        for job in LocalLauncher(tmp_path / "jobs", 0.1).jobs():
            for member in tagged(job.directory):
                send(member, signal.SIGKILL)


@pytest.fixture
def instance(cluster: Cluster) -> Iterator[dg.DagsterInstance]:
    with ExitStack() as stack:
        yield stack.enter_context(dg.DagsterInstance.from_config(str(cluster.root / "dagster")))


def finished(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    found: list[dg.DagsterRun] = []

    def over() -> bool:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        found[:] = [run]
        return run.is_finished

    until(over, 90)
    return found[0].status


def free_slots(instance: dg.DagsterInstance) -> bool:
    info = instance.event_log_storage.get_concurrency_info("gpu")
    return info.active_slot_count == 0 and info.pending_step_count == 0


def materializations(instance: dg.DagsterInstance) -> list[str]:
    """Run ids of all materializations of the asset."""
    records = instance.fetch_materializations(dg.AssetKey(NAME.split("/")), limit=10).records
    return [record.run_id for record in records]


def assert_one_publication_and_no_orphan(cluster: Cluster) -> None:
    job = cluster.job()
    assert (job.state, job.record.attempt) == ("succeeded", 1)
    assert (job.directory / "starts").read_text() == "start\n"
    assert (job.directory / "publications").read_text() == "published\n"
    assert len(Store.open((cluster.root / "store").as_uri()).versions(NAME)) == 1
    until(lambda: tagged(job.directory) == [])
    assert job.follower() is None


def finish(cluster: Cluster, instance: dg.DagsterInstance, run_id: str) -> None:
    """Let the job end while this run follows it; the run must be the only one to materialize."""
    until(lambda: (cluster.job().follower() or {}).get("dagster_run_id") == run_id, 90)
    (cluster.job().directory / "go").touch()
    assert finished(instance, run_id) == dg.DagsterRunStatus.SUCCESS
    assert materializations(instance) == [run_id]
    assert_one_publication_and_no_orphan(cluster)
    until(lambda: free_slots(instance))


def test_a_cancel_ends_the_tree_and_frees_the_slot(cluster: Cluster, instance: dg.DagsterInstance) -> None:
    cluster.start_code_server()
    run_id = cluster.launch(instance)
    job = cluster.until_job_waits()
    assert not free_slots(instance)
    assert len(tagged(job.directory)) == 3  # supervisor, program, the grandchild that ignores TERM
    instance.run_launcher.terminate(run_id)
    assert finished(instance, run_id) == dg.DagsterRunStatus.CANCELED
    assert job.state == "cancelled"
    until(lambda: tagged(job.directory) == [])
    until(lambda: free_slots(instance))


def test_kill_9_of_the_step_worker(cluster: Cluster, instance: dg.DagsterInstance) -> None:
    cluster.start_code_server()
    cluster.start_daemon()
    run_id = cluster.launch(instance)
    job = cluster.until_job_waits()
    cluster.step_worker().kill()
    assert finished(instance, run_id) == dg.DagsterRunStatus.FAILURE
    assert job.state == "running"
    finish(cluster, instance, cluster.launch(instance))


@pytest.mark.parametrize("cluster", ["multiprocess"], indirect=True)
def test_kill_9_of_the_run_worker(cluster: Cluster, instance: dg.DagsterInstance) -> None:
    server = cluster.start_code_server()
    cluster.start_daemon()
    run_id = cluster.launch(instance)
    job = cluster.until_job_waits()
    step_worker = cluster.step_worker()
    cluster.run_worker(server).kill()
    assert finished(instance, run_id) == dg.DagsterRunStatus.FAILURE
    assert job.state == "running"
    finish(cluster, instance, cluster.launch(instance))
    until(lambda: not step_worker.is_running())  # it saw that its run was over


def test_kill_9_of_the_code_server_alone(cluster: Cluster, instance: dg.DagsterInstance) -> None:
    """The run worker lives on and ends the run well; the re-run adopts."""
    server = cluster.start_code_server()
    cluster.start_daemon()
    run_id = cluster.launch(instance)
    job = cluster.until_job_waits()
    server.kill()
    server.wait()
    (job.directory / "go").touch()
    assert finished(instance, run_id) == dg.DagsterRunStatus.SUCCESS
    cluster.start_code_server()
    again = cluster.launch(instance)
    assert finished(instance, again) == dg.DagsterRunStatus.SUCCESS
    assert_one_publication_and_no_orphan(cluster)
    until(lambda: free_slots(instance))


def test_kill_9_of_the_code_server_with_all_its_workers(
    cluster: Cluster, instance: dg.DagsterInstance
) -> None:
    """As when its container dies: nobody is left to say so. The sensor fails the run and asks for another."""
    cluster.sensor = True
    server = cluster.start_code_server()
    cluster.start_daemon()
    run_id = cluster.launch(instance)
    job = cluster.until_job_waits()
    of_the_job = {p.pid for p in tagged(job.directory)}
    workers = [p for p in psutil.Process(server.pid).children(recursive=True) if p.pid not in of_the_job]
    assert cluster.step_worker() in workers
    server.kill()
    for process in workers:
        process.kill()
    server.wait()
    assert job.state == "running"
    cluster.start_code_server()
    assert finished(instance, run_id) == dg.DagsterRunStatus.FAILURE
    until(lambda: len(instance.get_runs()) == 2, 60)
    finish(cluster, instance, instance.get_runs(limit=1)[0].run_id)
    assert len(instance.get_runs()) == 2
