"""Control over a store's effects, one by one: stop at the n-th for ever, or interleave several actors.

On a disk the effects are those that CPython announces to audit hooks (open, rename, link, mkdir, remove,
utime, chmod, flock), so the code under test is the real one, unwrapped. On S3 they are the requests.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

EFFECTS = {
    *("open", "fcntl.flock"),
    *(f"os.{name}" for name in ("rename", "link", "mkdir", "remove", "rmdir", "chmod", "utime")),
}

_thread = threading.local()
_installed = False


class Killed(BaseException):
    """The process died here: no effect of it comes after."""


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event in EFFECTS:
        gate = getattr(_thread, "gate", None)
        root = getattr(_thread, "root", None)
        if gate is not None and (event == "fcntl.flock" or str(arguments[0]).startswith(root)):
            gate()


@contextmanager
def gated(gate: Callable[[], None], root: str) -> Iterator[None]:
    """In this thread, call `gate` before every effect on a path that starts with `root`."""
    global _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    _thread.gate, _thread.root = gate, root
    try:
        yield
    finally:
        _thread.gate = None


def pass_gate() -> None:
    """What a wrapped client calls before a request."""
    gate = getattr(_thread, "gate", None)
    if gate is not None:
        gate()


class GatedClient:
    """A boto3 client whose requests pass the thread's gate first."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)
        if name == "get_paginator":
            pass_gate()
            return method

        def request(*arguments: Any, **named: Any) -> Any:
            pass_gate()
            return method(*arguments, **named)

        return request


def killed_at(count: int, work: Callable[[], None], root: str) -> bool:
    """Run `work`, which dies before its effect number `count` (from 0); whether it died."""
    seen = 0

    def gate() -> None:
        nonlocal seen
        seen += 1
        if seen > count:
            raise Killed

    with gated(gate, root):
        try:
            work()
        except Killed:
            return True
    return False


class Actor:
    """A thread that does one effect each time it is let."""

    def __init__(self, work: Callable[[], None], root: str) -> None:
        self._go = threading.Semaphore(0)
        self._at_gate: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.done = False
        self.waits = False
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(work, root), daemon=True)
        self.thread.start()

    def _run(self, work: Callable[[], None], root: str) -> None:
        try:
            with gated(self._gate, root):
                self._gate()
                work()
        except BaseException as error:
            self.error = error
        self._at_gate.put(False)

    def _gate(self) -> None:
        self._at_gate.put(True)
        self._go.acquire()

    def step(self, patience: float = 0.02) -> None:
        """Let one effect happen. One that waits for another actor's lock may end later."""
        if not self.waits and not self._arrive(patience):
            return
        self.waits = False
        self._go.release()
        self._arrive(patience)

    def _arrive(self, patience: float) -> bool:
        if self.done:
            return False
        try:
            self.waits = self._at_gate.get(timeout=patience)
        except queue.Empty:
            return False
        self.done = not self.waits
        return self.waits


def interleave(
    works: Sequence[Callable[[], None]], schedule: Sequence[int], root: str, after_each: Callable[[], None]
) -> list[BaseException | None]:
    """Run the works in threads, one effect at a time in the order of `schedule`, then in turns to the end.

    Returns each one's exception.
    """
    actors = [Actor(work, root) for work in works]
    for choice in schedule:
        actors[choice % len(actors)].step()
        after_each()
    for _ in range(5000):
        if all(actor.done for actor in actors):
            break
        for actor in actors:
            actor.step()
    else:
        raise AssertionError("the actors do not come to an end: a deadlock")
    after_each()
    for actor in actors:
        actor.thread.join(5)
    return [actor.error for actor in actors]
