"""The small process above every launched job: ``python -m training.supervise JOBDIR``.

It outlives whoever asked for the job, runs the program in a session of its own, and leaves the truth in
JOBDIR/record.json: how it ended, when, and why. When the program ends, so does everything that it
started; when somebody asks for an end, the whole tree gets TERM, a grace, then KILL. The program writes
straight to the log file: no pipe stands between, so no amount of output can block it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from resources.job_folder import JobFolder, Record
from resources.processes import (
    Process,
    become_subreaper,
    descendants,
    die_with_parent,
    end_all,
    identify,
    myself,
    reap_children,
    tagged,
)

HEARTBEAT_SECONDS = 2.0
WAKE_SECONDS = 0.25
LOCK_SECONDS = 10.0
LOG_BYTES, LOG_KEPT = 64 << 20, 8 << 20
"""A log that grows beyond the first starts again; its last bytes, as many as the second, go to log.1.txt."""
NOT_MINE = 75
"""Exit status when another supervisor holds the job (EX_TEMPFAIL)."""

_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class Heart:
    """Touches the heartbeat file, at most once every HEARTBEAT_SECONDS."""

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self._next = 0.0

    def beat(self) -> bool:
        """Whether it was time for one."""
        due = time.monotonic() >= self._next
        if due:
            self._next = time.monotonic() + HEARTBEAT_SECONDS
            self._folder.beat()
        return due


def bound_log(path: Path) -> None:
    """Start a log again that has grown too long. Its writers append, so they go on at its new end."""
    with contextlib.suppress(OSError):
        size = path.stat().st_size
        if size <= LOG_BYTES:
            return
        with path.open("r+b") as log:
            log.seek(size - LOG_KEPT)
            # On a full disk the end is lost, and the disk is no longer full.
            with contextlib.suppress(OSError):
                path.with_name(f"{path.stem}.1{path.suffix}").write_bytes(log.read(LOG_KEPT))
            log.truncate(0)


@contextlib.contextmanager
def supervisor_lock(directory: Path) -> Iterator[bool]:
    """Hold JOBDIR/lock; yields False when somebody else still holds it after LOCK_SECONDS."""
    with (directory / "lock").open("a") as file:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(0.05)
            else:
                yield True
                return


def job_members(directory: Path, me: Process) -> list[Process]:
    """Every living process of the job but the supervisor: by descent and by environment."""
    found = {p.pid: p for p in descendants(me.pid)}
    found.update({p.pid: p for p in tagged(directory)})
    found.pop(me.pid, None)
    return list(found.values())


def start_program(record: Record, directory: Path) -> subprocess.Popen[bytes]:
    """Start the program in its own session; it is told to end should the supervisor be killed."""
    parent = os.getpid()

    def in_the_child() -> None:
        # TERM and not KILL: torchrun and vLLM end their workers on TERM. Whatever ignores it is killed by
        # the next submit or reap.
        die_with_parent(signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if os.getppid() != parent:
            os._exit(1)

    return subprocess.Popen(
        [*record.argv, str(directory)],
        cwd=record.cwd,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=in_the_child,
    )


def supervise(directory: Path) -> int:
    """Run the attempt that record.json announces; returns the supervisor's own exit status."""
    folder = JobFolder(directory)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    with supervisor_lock(directory) as mine:
        if not mine:
            print("supervisor: another one holds this job", file=sys.stderr)
            return NOT_MINE
        record = folder.read_record()
        if record is None or record.state != "starting":
            return NOT_MINE
        become_subreaper()
        me = myself()
        record = folder.update(record, supervisor=me)
        heart = Heart(folder)
        heart.beat()

        def members() -> list[Process]:
            return job_members(directory, me)

        def tick() -> None:
            reap_children()
            heart.beat()

        # What an earlier, killed supervisor left behind must not run beside this attempt.
        end_all(members, record.grace_seconds, tick=tick)
        try:
            program = start_program(record, directory)
        except OSError as error:
            folder.update(
                record,
                state="failed",
                ended_at=time.time(),
                reason=f"could not start {record.argv[0]}: {error}",
            )
            return 0
        record = folder.update(record, state="running", started_at=time.time(), program=identify(program.pid))
        follow(folder, record, program, members, heart)
    return 0


def follow(
    folder: JobFolder,
    record: Record,
    program: subprocess.Popen[bytes],
    members: Callable[[], list[Process]],
    heart: Heart,
) -> None:
    """Wait for the program or for a wish to end it; leave no process; write the final record."""
    exit_code: int | None = None

    def tick() -> None:
        nonlocal exit_code
        exit_code = reap_children().get(program.pid, exit_code)
        if heart.beat():
            bound_log(folder.log_file(record.attempt))

    ended_by = ""
    while exit_code is None and not ended_by:
        number = wait_for_signal()
        tick()
        if exit_code is None:
            if folder.cancel_file(record.attempt).exists():
                ended_by = "cancel"
            elif number in (signal.SIGTERM, signal.SIGINT):
                ended_by = signal.Signals(number).name
    survivors = end_all(members, record.grace_seconds, tick=tick)
    tick()
    program.returncode = exit_code  # it was reaped by waitpid: tell the handle, which would ask again
    state, reason = verdict(exit_code, ended_by)
    if survivors:
        reason += f"; still there after KILL: {', '.join(str(p.pid) for p in survivors)}"
    folder.update(record, state=state, ended_at=time.time(), exit_code=exit_code, reason=reason)


def wait_for_signal() -> int | None:
    """Sleep until a child ends or somebody signals, WAKE_SECONDS at most."""
    found = signal.sigtimedwait(_WATCHED, WAKE_SECONDS)
    return None if found is None else found.si_signo


def verdict(exit_code: int | None, ended_by: str) -> tuple[str, str]:
    """State and reason of an ended attempt."""
    if ended_by == "cancel":
        return "cancelled", "cancelled on request"
    if ended_by:
        return "failed", f"the supervisor was told to end by {ended_by}"
    if exit_code == 0:
        return "succeeded", ""
    if exit_code is not None and exit_code < 0:
        return "failed", f"killed by {signal_name(-exit_code)}"
    return "failed", f"exit status {exit_code}"


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; the number itself where there is no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python -m training.supervise JOBDIR", file=sys.stderr)
        return 2
    return supervise(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
