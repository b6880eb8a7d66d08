"""The body of an asset that a launched job makes: adopt, else submit or attach, follow, settle.

The job belongs to its key and not to the run that asked first. So a killed step worker, run worker or
code server loses nothing: the next run attaches to the living job, or adopts what it published. A user's
cancel ends the whole process tree; being shut down does not.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.materialize import Check, Describe, settle

if TYPE_CHECKING:
    from resources.launcher import Job, LocalLauncher, Program
    from resources.manifest import Manifest
    from resources.store import Store

POLL_SECONDS = 0.5
LOG_SECONDS = 5.0
"""At most one progress line in this time: Dagster's event log is slow, and people read it."""
STATUS_SECONDS = 5.0
"""How often to ask the instance whether anybody still waits for this run."""

_CANCELLED = frozenset({dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED})
_OVER = frozenset({dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS})


def launch(
    context: dg.AssetExecutionContext,
    store: Store,
    launcher: LocalLauncher,
    name: str,
    program: str,
    *,
    inputs: Mapping[str, Manifest],
    parameters: Mapping[str, Any],
    code: str,
    describe: Describe,
    checks: Mapping[str, Check] | None = None,
    spec_extra: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> dg.MaterializeResult[Any]:
    """Make the artifact ``name`` with ``python -m program JOBDIR``, as a job that outlives this step.

    Give the asset ``pool="gpu"``. ``spec_extra`` adds to spec.json what is outside the key (ports, say);
    ``env`` goes to the program's environment only. Raises dg.Failure with the end of the log when the job
    fails, or when it ends well without publishing the artifact under its key.
    """
    from resources.launcher import Program
    from resources.manifest import artifact_key

    versions = {m.name: m.version for m in inputs.values()}
    key = artifact_key(name, versions, parameters, code)
    manifest = store.cached(name, key)
    reused = manifest is not None
    if manifest is None:
        spec = {
            "store": store.uri,
            "artifact": name,
            "key": key,
            "inputs": versions,
            "parameters": dict(parameters),
            "code_version": code,
            "run": {"dagster_run_id": context.run_id},
            **(spec_extra or {}),
        }
        manifest = made_by_job(
            context, store, launcher, spec, Program((sys.executable, "-m", program), dict(env or {}))
        )
    result = settle(context, store, manifest, describe=describe, checks=checks or {}, reused=reused)
    forget_follower(launcher, key)
    return result


def made_by_job(
    context: dg.AssetExecutionContext,
    store: Store,
    launcher: LocalLauncher,
    spec: Mapping[str, Any],
    program: Program,
) -> Manifest:
    """Submit or attach, follow to the end, and return what the job published under its key."""
    name, key = spec["artifact"], spec["key"]
    try:
        job = launcher.submit(key, program, spec)
        if job.attached and job.state == "succeeded" and store.cached(name, key) is None:
            # It succeeded once, and its artifact is gone since: make it again.
            job = launcher.submit(key, program, spec, again=True)
        job.follow(follower(context))
        follow(context, job)
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        cancel_if_asked(context, launcher, key)
        raise
    manifest = store.cached(name, key)
    if manifest is None:
        job.unfollow()
        raise failure(job, f"{program.argv[-1]} ended well but published no {name} with key {key}")
    return manifest


def follow(context: dg.AssetExecutionContext, job: Job) -> None:
    """Wait for the job's success, logging progress rarely; dg.Failure when it ends otherwise.

    Also stops, and leaves the job running, when this run is over in the instance: a step worker that
    outlived its run must not materialize into it.
    """
    context.log.info(
        f"job {job.key}: {'attached to attempt' if job.attached else 'started attempt'} "
        f"{job.record.attempt}, log in {job.log_path}"
    )
    started = time.monotonic()
    next_line = next_status = started + min(LOG_SECONDS, STATUS_SECONDS)
    said = ""
    while (state := job.state) in ("starting", "running"):
        now = time.monotonic()
        if now >= next_line:
            line = progress_line(job.progress())
            if line and line != said:
                said = line
                next_line = now + LOG_SECONDS
                context.log.info(f"{line} ({now - started:.0f} s)")
        if now >= next_status:
            next_status = now + STATUS_SECONDS
            stop_if_over(context, job)
        time.sleep(POLL_SECONDS)
    stop_if_over(context, job)
    if state != "succeeded":
        job.unfollow()
        raise failure(job, f"job {job.key} {state}: {job.reason}")


def progress_line(progress: Mapping[str, Any] | None) -> str:
    """``pretrain 120/400 steps: loss 3.2``, or nothing when there is nothing to say."""
    if not progress:
        return ""
    done, total = progress.get("done"), progress.get("total")
    amount = "" if done is None else f" {done:,}" + ("" if total is None else f"/{total:,}")
    unit = f" {progress['unit']}" if progress.get("unit") else ""
    message = f": {progress['message']}" if progress.get("message") else ""
    return f"{progress.get('stage', 'working')}{amount}{unit}{message}"


def follower(context: dg.AssetExecutionContext) -> dict[str, Any]:
    """Who waits for the job now; `orchestration/orphans.py` reads it."""
    from resources.processes import myself

    return {
        "dagster_run_id": context.run_id,
        "process": myself().to_json(),
        "asset_key": list(context.asset_key.path),
        "partition_key": context.partition_key if context.has_partition_key else None,
    }


def forget_follower(launcher: LocalLauncher, key: str) -> None:
    """The job's end has been seen and settled: nobody need be brought back for it."""
    job = launcher.job(key)
    if job is not None and not job.active:
        job.unfollow()


def run_status(context: dg.AssetExecutionContext) -> dg.DagsterRunStatus | None:
    """This run's status in the instance; None when it was deleted there."""
    run = context.instance.get_run_by_id(context.run_id)
    return None if run is None else run.status


def stop_if_over(context: dg.AssetExecutionContext, job: Job) -> None:
    """Raise when nobody waits for this run any more."""
    status = run_status(context)
    if status in _CANCELLED:
        raise dg.DagsterExecutionInterruptedError()
    if status is None or status in _OVER:
        raise dg.Failure(
            f"run {context.run_id} is over ({'deleted' if status is None else status.value}) while its step "
            f"still followed job {job.key}; the job goes on, and the next run attaches to it",
            allow_retries=False,
        )


def cancel_if_asked(context: dg.AssetExecutionContext, launcher: LocalLauncher, key: str) -> None:
    """On an interruption: end the job when a user cancelled the run, leave it when we are only shut down.

    A job that another living run has attached to since is that run's, and goes on.
    """
    if run_status(context) not in _CANCELLED:
        context.log.warning(f"this step is being shut down; job {key} goes on, and the next run attaches")
        return
    job = launcher.job(key)
    owner = (None if job is None else job.follower()) or {}
    other = str(owner.get("dagster_run_id") or context.run_id)
    if other != context.run_id:
        run = context.instance.get_run_by_id(other)
        if run is not None and not run.is_finished:
            context.log.warning(f"job {key} goes on: run {other} follows it too")
            return
    launcher.cancel(key)
    context.log.info(f"job {key} is cancelled: its whole process tree has ended")


def failure(job: Job, message: str) -> dg.Failure:
    """A dg.Failure that shows the end of the log and says where the rest is."""
    tail = job.log_tail(40)
    return dg.Failure(
        f"{message}\nlog: {job.log_path}\n{tail}",
        metadata={
            "job": job.key,
            "log": dg.MetadataValue.path(str(job.log_path)),
            "log_tail": dg.MetadataValue.md(f"```\n{tail}\n```"),
        },
    )
