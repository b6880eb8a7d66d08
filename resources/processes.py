"""Process trees on Linux: who is who, what belongs to a job, and how to end all of it.

A process id alone proves nothing, since ids are used again. Here a process is its id *and* its start
time *and* the machine's boot and process namespace. What belongs to a job is found in two ways that
cover each other: by descent (the supervisor is a subreaper, so orphans come back to it), and by the
environment that every child inherits, which still works when the supervisor itself is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

JOB_VARIABLE = "LUCA_JOB"
"""Environment variable that carries the job's key in every process of a job."""
DIRECTORY_VARIABLE = "LUCA_JOB_DIR"
"""Environment variable that carries the job's folder: keys are unique in one launcher's folder only."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Process:
    """One process for good: ``start`` is in clock ticks since boot, ``world`` names boot and namespace."""

    pid: int
    start: int
    world: str

    def to_json(self) -> dict[str, object]:
        return {"pid": self.pid, "start": self.start, "world": self.world}

    @classmethod
    def from_json(cls, value: object) -> Process | None:
        """None for anything that is not a whole identity."""
        if not isinstance(value, dict):
            return None
        pid, start, world = value.get("pid"), value.get("start"), value.get("world")
        if isinstance(pid, int) and isinstance(start, int) and isinstance(world, str):
            return cls(pid, start, world)
        return None


@cache
def world() -> str:
    """Boot id and process namespace: process ids mean something only inside one of these."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 - a magic link, not a path


def _stat(pid: int) -> tuple[str, int, int] | None:
    """(state letter, parent, start in ticks) from /proc, or None when the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[1]), int(fields[19])


def identify(pid: int) -> Process | None:
    """The living process of this id; None when there is none or only its zombie."""
    found = _stat(pid)
    if found is None or found[0] in "ZX":
        return None
    return Process(pid, found[2], world())


def myself() -> Process:
    """This process."""
    found = identify(os.getpid())
    assert found is not None
    return found


def alive(process: Process) -> bool:
    """Whether exactly this process runs (not one that got its id later). False across worlds."""
    return process.world == world() and identify(process.pid) == process


def _pids() -> list[int]:
    return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def descendants(pid: int) -> list[Process]:
    """Living processes below ``pid``, parents before children; ``pid`` itself is not among them."""
    children: dict[int, list[int]] = {}
    found: dict[int, tuple[str, int, int]] = {}
    for other in _pids():
        stat = _stat(other)
        if stat is not None:
            found[other] = stat
            children.setdefault(stat[1], []).append(other)
    result: list[Process] = []
    queue = list(children.get(pid, ()))
    while queue:
        child = queue.pop(0)
        queue.extend(children.get(child, ()))
        if found[child][0] not in "ZX":
            result.append(Process(child, found[child][2], world()))
    return result


def tagged(directory: Path) -> list[Process]:
    """Living processes whose environment says that they belong to the job in this folder."""
    needle = f"{DIRECTORY_VARIABLE}={directory}".encode()
    result = []
    for pid in _pids():
        process = identify(pid)
        if process is None:
            continue
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        if needle in environment.split(b"\0") and alive(process):
            result.append(process)
    return result


def send(process: Process, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False when it is gone. Never hits a later owner of the id."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        if not alive(process):
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(handle)


def end_all(
    members: Callable[[], Iterable[Process]],
    grace_seconds: float,
    *,
    tick: Callable[[], None] = lambda: None,
    kill_seconds: float = 20.0,
) -> list[Process]:
    """TERM everyone, wait for the grace, KILL who is left, until nobody is left.

    ``members`` is asked again and again, because a dying tree still forks; ``tick`` runs between
    (reap children, beat the heart). Returns who survived KILL for ``kill_seconds``: processes stuck in
    the kernel, which nothing can end.
    """
    warned: set[Process] = set()
    deadline = time.monotonic() + grace_seconds
    while (left := list(members())) and time.monotonic() < deadline:
        for process in left:
            if process not in warned:
                warned.add(process)
                send(process, signal.SIGTERM)
        tick()
        time.sleep(_POLL_SECONDS)
    deadline = time.monotonic() + kill_seconds
    while (left := list(members())) and time.monotonic() < deadline:
        for process in left:
            send(process, signal.SIGKILL)
        tick()
        time.sleep(_POLL_SECONDS)
    return left


def _prctl(option: int, value: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}, {value}) failed")


def become_subreaper() -> None:
    """From now on the orphans below this process become its children, not init's."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to send ``number`` to this process when the thread that started it ends."""
    _prctl(_PR_SET_PDEATHSIG, int(number))


def reap_children() -> dict[int, int]:
    """Collect finished children without waiting: process id -> exit code (negative: the signal)."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended
