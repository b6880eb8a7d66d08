"""Jobs that nobody looks after any more: ended, or brought back under a run.

Told apart by the job's record and by the run that followed it last (follower.json, which a follower that
saw the job's end takes away):
- the supervisor is gone: what remains of the tree is ended and the job marked lost;
- the run was cancelled but no worker lived to end the job: the job is cancelled;
- the run's worker is gone and nobody told the instance (the code server was killed too): the run is
  marked failed, for a run that seems to go on keeps its slot of the pool for ever;
- the run failed or was deleted while its job goes on, or has succeeded or was lost since: a new run of the
  same asset is asked for, which attaches to the job, adopts what it published, or starts it anew;
- the run is alive, or the job is a service: nothing to do.
"""

import time
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg

from assets.resources import LauncherResource
from resources.job_folder import FINAL

if TYPE_CHECKING:
    from resources.launcher import Job

Finding = Literal["followed", "cancelled", "abandoned", "unattended"]

LOST_FOLLOWER_SECONDS = 60.0
"""How long a follower must be gone before its run is called dead: a living run worker or code server
reports a dead step or run by itself within seconds, and a step that is tried again follows again."""
MOST_REATTACHMENTS = 5
"""Runs asked for in a row for one job, so that what kills every follower is not fed for ever."""
COUNT_TAG = "luca/reattachments"


def finding(
    instance: dg.DagsterInstance, job: "Job", lost_seconds: float = LOST_FOLLOWER_SECONDS
) -> tuple[Finding, dg.DagsterRun | None]:
    """What became of the run that follows a job, and that run (None: deleted, or never one)."""
    follower = job.follower() or {}
    state = job.state
    if state in FINAL and not follower:
        return "followed", None  # whoever followed has seen its end
    run_id = str((follower or job.spec().get("run") or {}).get("dagster_run_id") or "")
    if not run_id:
        return "followed", None  # started by hand, outside Dagster: whoever did so looks after it
    run = instance.get_run_by_id(run_id)
    if run is None:
        return ("followed" if state in ("failed", "cancelled") else "abandoned"), None
    if run.status == dg.DagsterRunStatus.CANCELED:
        return "cancelled", run
    if run.is_finished:
        # A job that failed or was cancelled by itself is nothing to come back to; a lost one starts anew,
        # and its program resumes.
        return ("followed" if state in ("failed", "cancelled") else "abandoned"), run
    return ("unattended" if follower_gone(job, follower, lost_seconds) else "followed"), run


def follower_gone(job: "Job", follower: dict[str, Any], lost_seconds: float) -> bool:
    """Whether the process that follows is gone from this machine, for ``lost_seconds``.

    Since nobody saw it die, the time is counted from when this was noticed first. A follower in another
    process namespace is never called gone: nothing here can tell.
    """
    from resources.processes import Process, alive, world

    process = Process.from_json(follower.get("process"))
    if process is None or process.world != world() or alive(process):
        return False
    if "noticed_gone_at" not in follower:
        job.follow({**follower, "noticed_gone_at": time.time()})
        return False
    return time.time() - float(follower["noticed_gone_at"]) >= lost_seconds


def reattach(job: "Job", run: dg.DagsterRun | None) -> dg.RunRequest | None:
    """A run of the asset that made the job; None when the job does not say which, or after too many."""
    follower = job.follower() or {}
    path = follower.get("asset_key")
    count = int(run.tags.get(COUNT_TAG, "0")) + 1 if run is not None else 1
    if not path or count > MOST_REATTACHMENTS:
        return None
    return dg.RunRequest(
        run_key=f"reattach-{job.key}-{job.record.attempt}-{follower.get('dagster_run_id')}",
        asset_selection=[dg.AssetKey(path)],
        partition_key=follower.get("partition_key"),
        tags={COUNT_TAG: str(count), "luca/job": job.key},
    )


def orphan_sensor(
    minimum_interval_seconds: int = 30, lost_follower_seconds: float = LOST_FOLLOWER_SECONDS
) -> dg.SensorDefinition:
    """The sensor; it needs the resource ``launcher`` and runs by default."""

    @dg.sensor(
        name="orphaned_jobs",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends or re-attaches launched jobs whose supervisor or run is gone.",
    )
    def orphaned_jobs(context: dg.SensorEvaluationContext, launcher: LauncherResource) -> dg.SensorResult:
        jobs = launcher.open()
        instance = context.instance
        said = [f"ended what remained of {job.key}" for job in jobs.reap()]
        requests = []
        for job in jobs.jobs():
            if job.record.kind == "service":
                continue
            found, run = finding(instance, job, lost_follower_seconds)
            if found == "cancelled":
                jobs.cancel(job.key)
                job.unfollow()
                said.append(f"ended {job.key}: its run was cancelled")
            elif found == "unattended" and run is not None:
                instance.report_run_failed(run, f"the worker that followed job {job.key} is gone")
                said.append(f"run {run.run_id} is marked failed: its worker is gone, job {job.key} goes on")
            elif found == "abandoned":
                request = reattach(job, run)
                if request is not None:
                    requests.append(request)
                said.append(f"{job.key} lost its run" + ("; asking for another" if request else ""))
        for line in said:
            context.log.info(line)
        if requests:
            return dg.SensorResult(run_requests=requests)
        return dg.SensorResult(skip_reason="; ".join(said) or "no orphaned job")

    return orphaned_jobs
