"""A job's folder on disk: the only thing that launcher, supervisor and program share.

    JOBS/<key>/spec.json            what to build; written before the program starts
    JOBS/<key>/record.json          state, identities, times, exit code; replaced atomically
    JOBS/<key>/heartbeat            touched by the supervisor every few seconds
    JOBS/<key>/progress.json        by the program, as often as it likes
    JOBS/<key>/service.json         by a service, when it is ready
    JOBS/<key>/follower.json        by whoever follows the job, until it has seen the end: what a killed
                                    follower leaves behind tells the orphan sensor whom to bring back
    JOBS/<key>/attempts/N/log.txt   what attempt N said; beyond 64 MiB it starts again, after log.1.txt
    JOBS/<key>/attempts/N/cancel    exists once somebody asked attempt N to end
    JOBS/<key>/lock, submit.lock    flocks: one supervisor, one submitter at a time

Files are replaced whole, so that a reader never sees half of one, whatever is killed when.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from resources.processes import Process

ACTIVE = frozenset({"starting", "running"})
FINAL = frozenset({"succeeded", "failed", "cancelled", "lost"})
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Record:
    """What is known about a job's latest attempt. Times are seconds since the epoch."""

    key: str
    kind: str
    state: str
    attempt: int
    argv: tuple[str, ...]
    cwd: str
    grace_seconds: float
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    reason: str = ""
    supervisor: Process | None = None
    program: Process | None = None
    attempts: tuple[Mapping[str, Any], ...] = field(default=())
    """Earlier attempts, oldest first: attempt, state, exit_code, reason, started_at, ended_at."""


@dataclass(frozen=True)
class JobFolder:
    """Paths of one job, and the reads and writes of its files."""

    directory: Path

    @property
    def record_file(self) -> Path:
        return self.directory / "record.json"

    @property
    def heartbeat_file(self) -> Path:
        return self.directory / "heartbeat"

    def attempt_folder(self, attempt: int) -> Path:
        return self.directory / "attempts" / str(attempt)

    def log_file(self, attempt: int) -> Path:
        return self.attempt_folder(attempt) / "log.txt"

    def cancel_file(self, attempt: int) -> Path:
        return self.attempt_folder(attempt) / "cancel"

    def read_record(self) -> Record | None:
        """The record, or None when there is none yet; ValueError names a file that is not a record."""
        value = read_json(self.record_file)
        if value is None:
            return None
        try:
            return Record(
                **{
                    **value,
                    "argv": tuple(value["argv"]),
                    "attempts": tuple(value["attempts"]),
                    "supervisor": Process.from_json(value["supervisor"]),
                    "program": Process.from_json(value["program"]),
                }
            )
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"{self.record_file}: not a job record ({error}). Remove the folder {self.directory}."
            ) from None

    def write_record(self, record: Record) -> Record:
        """Replace the record, durably."""
        write_json(self.record_file, asdict(record), durable=True)
        return record

    def update(self, record: Record, **changes: Any) -> Record:
        """Write ``record`` with changes and return the new one."""
        return self.write_record(replace(record, **changes))

    def beat(self) -> None:
        """Say that the supervisor lives."""
        self.heartbeat_file.touch()

    def heartbeat_age(self) -> float | None:
        """Seconds since the last heartbeat, or None before the first.

        One in the future was stamped before the clock went back: how far, so that it does not count as new
        until the clock has caught up.
        """
        try:
            return abs(time.time() - self.heartbeat_file.stat().st_mtime)
        except FileNotFoundError:
            return None


def check_key(key: str) -> str:
    """The key itself when it can name a folder; ValueError otherwise."""
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"job key {key!r}: use letters, digits, '.', '_' and '-' only, 128 at most, "
            "and begin with a letter or a digit"
        )
    return key


def read_json(file: Path) -> dict[str, Any] | None:
    """A JSON object, or None when the file does not exist; ValueError names a damaged file."""
    try:
        value = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{file}: not JSON ({error}). Remove it.") from None
    if not isinstance(value, dict):
        raise ValueError(f"{file}: not a JSON object. Remove it.")
    return value


def write_json(file: Path, value: Mapping[str, Any], *, durable: bool = False) -> None:
    """Replace ``file`` by ``value`` in one step; ``durable`` also survives a power cut."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=1, sort_keys=True)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        Path(name).replace(file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            Path(name).unlink()
        raise


def report_progress(
    directory: Path, stage: str, done: float, total: float | None, unit: str, message: str = ""
) -> None:
    """For programs: replace JOBDIR/progress.json. Cheap enough to call once a second, not once a token."""
    write_json(
        directory / "progress.json",
        {"stage": stage, "done": done, "total": total, "unit": unit, "message": message},
    )


def announce_service(directory: Path, url: str, **facts: Any) -> None:
    """For services: say at which URL this one answers, once it is ready."""
    write_json(directory / "service.json", {"url": url, **facts})
