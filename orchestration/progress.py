"""Print a Dagster run as a person can follow it: step, items, time; jobs' own progress between."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import dagster as dg
from dagster._core.events import DagsterEventType

from resources.launcher import LocalLauncher

POLL_SECONDS = 1.0
JOB_LINE_SECONDS = 10.0


def outcome(metadata: Mapping[str, Any]) -> str:
    """One line about a materialized asset from its metadata: adopted or built, counts, size."""
    parts = ["unchanged, adopted" if metadata.get("reused") else "built"]
    rows = metadata.get("dagster/row_count")
    if rows is not None:
        parts.append(f"{rows:,} rows")
    if metadata.get("bytes") is not None:
        parts.append(size(int(metadata["bytes"])))
    return ", ".join(parts)


def size(number: int) -> str:
    """Bytes in the unit a person would choose."""
    value = float(number)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


class RunPrinter:
    """Follows a run's event log in a thread of its own and prints a line per thing that happened."""

    def __init__(self, instance: dg.DagsterInstance, mark: str, jobs: Path, out: TextIO) -> None:
        """`mark` is the run's tag ``luca/demo``: the run's own id is not known before it starts."""
        self.instance = instance
        self.mark = mark
        self.run_id: str | None = None
        self.jobs = jobs
        self.out = out
        self.failures: list[str] = []
        self.materialized: dict[str, Mapping[str, Any]] = {}
        self._cursor: str | None = None
        self._started = time.monotonic()
        self._step_started: dict[str, float] = {}
        self._job_lines: dict[str, tuple[float, str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="run-printer", daemon=True)

    def __enter__(self) -> RunPrinter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._drain()

    def line(self, text: str) -> None:
        """A line with the run's clock before it."""
        print(f"[{time.monotonic() - self._started:6.1f} s] {text}", file=self.out, flush=True)

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self._drain()
            self._print_jobs()

    @property
    def status(self) -> dg.DagsterRunStatus | None:
        """The run's status now; None if it never started."""
        run = self.instance.get_run_by_id(self.run_id) if self.run_id else None
        return run.status if run else None

    def _find_run(self) -> None:
        runs = self.instance.get_runs(dg.RunsFilter(tags={"luca/demo": self.mark}), limit=1)
        self.run_id = runs[0].run_id if runs else None

    def _drain(self) -> None:
        if self.run_id is None:
            self._find_run()
        if self.run_id is None:
            return
        connection = self.instance.get_records_for_run(self.run_id, cursor=self._cursor)
        self._cursor = connection.cursor
        for record in connection.records:
            self._print_entry(record.event_log_entry)

    def _print_entry(self, entry: Any) -> None:
        event = entry.dagster_event
        if event is None:
            if entry.level >= 30:
                self.line(f"    {entry.user_message.strip()}")
            return
        step = (event.step_key or "").replace("__", "/")
        if event.event_type == DagsterEventType.STEP_START:
            self._step_started[step] = entry.timestamp
        elif event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
            materialization = event.step_materialization_data.materialization
            name = materialization.asset_key.to_user_string()
            metadata = {key: value.value for key, value in materialization.metadata.items()}
            self.materialized[name] = metadata
            seconds = entry.timestamp - self._step_started.get(step, entry.timestamp)
            self.line(f"{name:<28} {outcome(metadata)}, {seconds:.1f} s")
        elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            evaluation = event.asset_check_evaluation_data
            if not evaluation.passed:
                self.line(
                    f"    check {evaluation.check_name} of {evaluation.asset_key.to_user_string()} failed: "
                    f"{evaluation.description or 'see the UI'}"
                )
        elif event.event_type == DagsterEventType.STEP_FAILURE:
            error = event.step_failure_data.error
            cause = error.cause or error if error else None
            message = cause.message.strip() if cause else event.message
            self.failures.append(f"{step}: {message}")
            self.line(f"{step:<28} FAILED: {message}")

    def _print_jobs(self) -> None:
        for job in LocalLauncher(self.jobs).jobs() if self.jobs.is_dir() else []:
            if job.state != "running":
                continue
            progress = job.progress()
            if not progress:
                continue
            words = job_words(progress)
            last, printed = self._job_lines.get(job.key, (0.0, ""))
            if words != printed and time.monotonic() - last >= JOB_LINE_SECONDS:
                self._job_lines[job.key] = (time.monotonic(), words)
                self.line(f"    {words}")


def job_words(progress: Mapping[str, Any]) -> str:
    """``pretrain 40/120 steps, loss 2.31`` from a job's progress.json."""
    words = str(progress.get("stage", "job"))
    if progress.get("total"):
        words += f" {progress.get('done', 0)}/{progress['total']} {progress.get('unit', '')}".rstrip()
    if progress.get("message"):
        words += f", {progress['message']}"
    return words
