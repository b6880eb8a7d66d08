"""Jobs that outlive whoever asked for them: submit or attach, follow, cancel, reap.

A job is a folder (`resources/job_folder.py`) and a supervisor (`training/supervise.py`) that runs its
program. The job's key says what it makes; asking twice for the same key attaches to the one that runs.
Nothing here keeps state in memory: any process that sees the folder can follow or cancel the job.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from resources.job_folder import ACTIVE, JobFolder, Record, check_key, read_json, write_json
from resources.processes import DIRECTORY_VARIABLE, JOB_VARIABLE, Process, alive, end_all, tagged, world
from resources.settings import PROJECT

START_SECONDS = 30.0
"""How long a new supervisor may take to say that it is there."""
HEARTBEAT_STALE_SECONDS = 30.0
"""A supervisor in another process namespace counts as dead when its heartbeat is older than this."""
ATTEMPTS_KEPT = 20
"""Of a job's earlier attempts: their logs, and what the record says of them."""
_TAIL_BYTES = 64 * 1024
_SUPERVISOR_MODULE = "training.supervise"

Kind = Literal["job", "service"]


@dataclass(frozen=True)
class Program:
    """What to run. The launcher appends the job's folder to ``argv``; ``env`` is added to this process's
    environment and never written to disk; ``cwd`` is the project's folder unless given."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None

    @classmethod
    def module(cls, name: str, env: Mapping[str, str] | None = None) -> Program:
        """``python -m name``, with the Python that runs now."""
        return cls((sys.executable, "-m", name), env or {})


class JobError(RuntimeError):
    """A job could not be started, or could not be ended."""


@dataclass(frozen=True)
class Job:
    """A view of one job; every property reads the folder anew."""

    directory: Path
    attached: bool = True
    """False when the submit that returned this view started a new attempt."""

    @property
    def key(self) -> str:
        return self.directory.name

    @property
    def folder(self) -> JobFolder:
        return JobFolder(self.directory)

    @property
    def record(self) -> Record:
        """The latest attempt's record; JobError when the folder is gone."""
        record = self.folder.read_record()
        if record is None:
            raise JobError(f"job {self.key}: no record in {self.directory}")
        return record

    @property
    def state(self) -> str:
        """starting, running, succeeded, failed, cancelled or lost (its supervisor is gone)."""
        return state_of(self.folder)

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def exit_code(self) -> int | None:
        """The program's exit status; negative: the signal that ended it; None while it runs."""
        return self.record.exit_code

    @property
    def pid(self) -> int | None:
        """Process id of the program, once it runs."""
        program = self.record.program
        return None if program is None else program.pid

    @property
    def reason(self) -> str:
        """Why the job ended as it did; empty when it succeeded."""
        if self.state == "lost":
            return self.record.reason or "its supervisor is gone without a word (killed?)"
        return self.record.reason

    @property
    def log_path(self) -> Path:
        return self.folder.log_file(self.record.attempt)

    def spec(self) -> dict[str, Any]:
        return read_json(self.directory / "spec.json") or {}

    def progress(self) -> dict[str, Any] | None:
        """What the program last wrote to progress.json; None before that, or when it is unreadable."""
        with contextlib.suppress(ValueError):
            return read_json(self.directory / "progress.json")
        return None

    def service_url(self) -> str | None:
        """Where a service answers, once it has said so and while it runs."""
        if not self.active:
            return None
        service = read_json(self.directory / "service.json")
        return None if service is None else str(service["url"])

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the attempt's log, from its last 64 KiB at most."""
        try:
            with self.log_path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def follow(self, run: Mapping[str, Any]) -> None:
        """Note who waits for this job now; the latest follower is the one whose cancel counts."""
        write_json(self.directory / "follower.json", run)

    def follower(self) -> dict[str, Any] | None:
        """Who waits for the job, or None once whoever did has seen its end."""
        return read_json(self.directory / "follower.json")

    def unfollow(self) -> None:
        """The follower has seen the job's end and made of it what it had to."""
        (self.directory / "follower.json").unlink(missing_ok=True)

    def wait(
        self,
        poll: float = 0.5,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        timeout: float | None = None,
    ) -> str:
        """Block until the job has ended (or is lost) and return its state.

        ``on_progress`` gets progress.json whenever it changed; TimeoutError after ``timeout`` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        last: dict[str, Any] | None = None
        while True:
            state = self.state
            if on_progress is not None:
                progress = self.progress()
                if progress is not None and progress != last:
                    last = progress
                    on_progress(progress)
            if state not in ACTIVE:
                return state
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"job {self.key} is still {state} after {timeout} s")
            time.sleep(poll)


def supervisor_lives(folder: JobFolder, record: Record) -> bool:
    """Whether somebody looks after an active job. Across process namespaces the heartbeat decides."""
    if record.supervisor is None:
        return time.time() - record.submitted_at < START_SECONDS
    if record.supervisor.world == world():
        return alive(record.supervisor)
    age = folder.heartbeat_age()
    return age is not None and age < HEARTBEAT_STALE_SECONDS


def state_of(folder: JobFolder) -> str:
    """The state of a job's latest attempt, with ``lost`` for a supervisor that is gone."""
    record = folder.read_record()
    if record is None:
        return "lost"
    if record.state not in ACTIVE or supervisor_lives(folder, record):
        return record.state
    # It may have written its last word between our two looks.
    record = folder.read_record()
    return "lost" if record is None or record.state in ACTIVE else record.state


class LocalLauncher:
    """Starts jobs as processes of this machine, one folder each below ``root``."""

    def __init__(self, root: Path, grace_seconds: float = 10) -> None:
        self.root = Path(root).resolve()
        self.grace_seconds = grace_seconds

    def submit(
        self,
        key: str,
        program: Program,
        spec: Mapping[str, Any],
        kind: Kind = "job",
        *,
        again: bool = False,
    ) -> Job:
        """Attach to the job of this key when it runs or has succeeded, else start a new attempt.

        What a dead supervisor left running is ended first. ``again`` starts anew even after success
        (its artifact was deleted, say). A service that ended is always started anew. Raises JobError
        when the supervisor does not come up, ValueError for a key that cannot name a folder.
        """
        directory = self.root / check_key(key)
        directory.mkdir(parents=True, exist_ok=True)
        folder = JobFolder(directory)
        with self._submit_lock(directory):
            record = folder.read_record()
            if record is not None:
                state = state_of(folder)
                if state in ACTIVE and record.supervisor is not None:
                    return Job(directory)
                if state == "succeeded" and kind == "job" and not again:
                    return Job(directory)
            return self._start(folder, record, program, spec, kind)

    def job(self, key: str) -> Job | None:
        """The job of this key, or None when it was never submitted."""
        directory = self.root / check_key(key)
        return Job(directory) if (directory / "record.json").is_file() else None

    def jobs(self) -> list[Job]:
        """All jobs ever submitted here, sorted by key."""
        if not self.root.is_dir():
            return []
        return [Job(file.parent) for file in sorted(self.root.glob("*/record.json"))]

    def cancel(self, key: str) -> Job | None:
        """End the job's whole process tree and return when it is gone; nothing to do when it has ended.

        TERM, the grace, KILL: by the supervisor, or from here when the supervisor is gone or stuck.
        JobError when processes survive even that.
        """
        job = self.job(key)
        if job is None:
            return None
        # Before the lock, so that the wish stands even if we are interrupted on the next line.
        record = job.record
        if state_of(job.folder) in ACTIVE | {"lost"}:
            job.folder.cancel_file(record.attempt).touch()
        with self._submit_lock(job.directory):
            record = job.record
            deadline = time.monotonic() + record.grace_seconds + START_SECONDS
            while (state := state_of(job.folder)) in ACTIVE and time.monotonic() < deadline:
                time.sleep(0.1)
            if state in ACTIVE or (state == "lost" and job.record.state != "lost"):
                self._end_from_here(job.folder, "cancelled", "cancelled on request; its supervisor was gone")
        return job

    def reap(self) -> list[Job]:
        """End what remains of jobs whose supervisor is gone, and mark them lost; returns those jobs."""
        reaped = []
        for job in self.jobs():
            if job.state != "lost" or job.record.state == "lost":
                continue
            with self._submit_lock(job.directory):
                if job.state == "lost" and job.record.state != "lost":
                    self._end_from_here(job.folder, "lost", "its supervisor was gone; the rest was ended")
                    reaped.append(job)
        return reaped

    def _start(
        self, folder: JobFolder, earlier: Record | None, program: Program, spec: Mapping[str, Any], kind: Kind
    ) -> Job:
        directory = folder.directory
        left = end_all(lambda: tagged(directory), self.grace_seconds)
        if left:
            raise JobError(
                f"job {directory.name}: processes {_ids(left)} of an earlier attempt survive KILL; "
                "a new attempt would run beside them"
            )
        attempt = 1 if earlier is None else earlier.attempt + 1
        folder.attempt_folder(attempt).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder.attempt_folder(attempt - ATTEMPTS_KEPT - 1), ignore_errors=True)
        folder.cancel_file(attempt).unlink(missing_ok=True)
        for name in ("progress.json", "service.json", "heartbeat"):
            (directory / name).unlink(missing_ok=True)
        write_json(directory / "spec.json", spec, durable=True)
        record = folder.write_record(
            Record(
                key=directory.name,
                kind=kind,
                state="starting",
                attempt=attempt,
                argv=tuple(program.argv),
                cwd=str(program.cwd or PROJECT),
                grace_seconds=self.grace_seconds,
                submitted_at=time.time(),
                attempts=() if earlier is None else (*earlier.attempts, _summary(earlier))[-ATTEMPTS_KEPT:],
            )
        )
        self._spawn_supervisor(folder, record, program)
        return Job(directory, attached=False)

    def _spawn_supervisor(self, folder: JobFolder, record: Record, program: Program) -> None:
        """Start the supervisor, detached, and wait until it has taken the job over."""
        directory = folder.directory
        environment = {
            **os.environ,
            **program.env,
            JOB_VARIABLE: directory.name,
            DIRECTORY_VARIABLE: str(directory),
        }
        with folder.log_file(record.attempt).open("ab") as log:
            supervisor = subprocess.Popen(
                [sys.executable, "-m", _SUPERVISOR_MODULE, str(directory)],
                cwd=PROJECT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Somebody must collect its exit status while we live; a zombie would look like a leak.
        threading.Thread(target=supervisor.wait, name=f"wait-{record.key}", daemon=True).start()
        deadline = time.monotonic() + START_SECONDS
        while True:
            now = folder.read_record()
            if now is not None and (now.supervisor is not None or now.state not in ACTIVE):
                return
            if supervisor.poll() is not None or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        end_all(lambda: tagged(directory), 0)
        reason = f"the supervisor did not start (exit status {supervisor.returncode})"
        folder.update(record, state="failed", ended_at=time.time(), reason=reason)
        raise JobError(f"job {record.key}: {reason}: {Job(directory).log_tail(10)}")

    def _end_from_here(self, folder: JobFolder, state: str, reason: str) -> None:
        record = folder.read_record()
        assert record is not None
        left = end_all(lambda: tagged(folder.directory), record.grace_seconds)
        if left:
            raise JobError(f"job {record.key}: processes {_ids(left)} survive KILL")
        latest = folder.read_record()
        if latest is not None and latest.state in ACTIVE:
            folder.update(latest, state=state, ended_at=time.time(), reason=reason)

    @contextlib.contextmanager
    def _submit_lock(self, directory: Path, seconds: float = 120.0) -> Iterator[None]:
        """One submit, cancel or reap at a time for a job; the lock falls with its holder."""
        with (directory / "submit.lock").open("a") as file:
            deadline = time.monotonic() + seconds
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise JobError(
                            f"job {directory.name}: somebody has been submitting or cancelling it for "
                            f"{seconds:.0f} s"
                        ) from None
                    time.sleep(0.02)
            yield


def _summary(record: Record) -> dict[str, Any]:
    whole = asdict(record)
    return {
        name: whole[name] for name in ("attempt", "state", "exit_code", "reason", "started_at", "ended_at")
    }


def _ids(processes: list[Process]) -> str:
    return ", ".join(str(p.pid) for p in processes)
