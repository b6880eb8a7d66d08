"""Jobs that nobody looks after any more: ended, or brought back under a run.

Four cases, told apart by the job's record and by the state of the run that followed it last:
- the supervisor is gone: what remains of the tree is ended and the job marked lost;
- the run was cancelled but its worker did not live to end the job: the job is cancelled;
- the run failed or vanished while its job went on (a worker was killed): a new run of the same asset is
  asked for, once for each lost run; it attaches to the job, or adopts what the job published;
- the run is alive, or the job is a service: nothing to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import dagster as dg

from assets.resources import LauncherResource

if TYPE_CHECKING:
    from resources.launcher import Job

Finding = Literal["followed", "cancelled", "abandoned"]

_TAG = "luca/reattached_from"


def finding(instance: dg.DagsterInstance, job: Job) -> tuple[Finding, str]:
    """What became of the run that follows an active job, and that run's id."""
    run_id = str((job.follower() or job.spec().get("run") or {}).get("dagster_run_id") or "")
    if not run_id:
        return "followed", ""  # started by hand, outside Dagster: whoever did so looks after it
    run = instance.get_run_by_id(run_id)
    if run is None:
        return "abandoned", run_id
    if run.status == dg.DagsterRunStatus.CANCELED:
        return "cancelled", run_id
    return ("abandoned" if run.is_finished else "followed"), run_id


def reattach(job: Job, run_id: str) -> dg.RunRequest | None:
    """A run of the asset that made the job; None when the job does not say which."""
    follower = job.follower() or {}
    path = follower.get("asset_key")
    if not path:
        return None
    return dg.RunRequest(
        run_key=f"reattach-{job.key}-{job.record.attempt}-{run_id}",
        asset_selection=[dg.AssetKey(path)],
        partition_key=follower.get("partition_key"),
        tags={_TAG: run_id, "luca/job": job.key},
    )


def orphan_sensor(minimum_interval_seconds: int = 60) -> dg.SensorDefinition:
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
        said = [f"ended what remained of {job.key}" for job in jobs.reap()]
        requests = []
        for job in jobs.jobs():
            if not job.active or job.record.kind == "service":
                continue
            found, run_id = finding(context.instance, job)
            if found == "cancelled":
                jobs.cancel(job.key)
                said.append(f"cancelled {job.key}: run {run_id} was cancelled")
            elif found == "abandoned":
                request = reattach(job, run_id)
                if request is not None:
                    requests.append(request)
                said.append(f"{job.key} goes on without run {run_id}" + (", re-attaching" if request else ""))
        for line in said:
            context.log.info(line)
        return dg.SensorResult(
            run_requests=requests, skip_reason="; ".join(said) or "no orphaned job" if not requests else None
        )

    return orphaned_jobs
