"""Functions that worker processes import in test_compute.py."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

READY: list[int] = []


def double(x: int) -> int:
    return 2 * x


def slow_when_even(x: int) -> int:
    time.sleep(0.2 if x % 2 == 0 else 0)
    return x


def fail_on_three(x: int) -> int:
    if x == 3:
        raise ValueError("three is right out")
    return x


def leave(x: int) -> int:
    raise SystemExit(x)


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def die_first_time(marker: str) -> str:
    """Kill the own worker the first time that the marker is met."""
    if marker and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def die_always(x: int) -> int:
    if x == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def get_ready() -> None:
    READY.append(os.getpid())


def how_ready(x: int) -> tuple[int, int]:
    return os.getpid(), len(READY)


def return_a_lambda(x: int) -> object:
    return lambda: x


def write_pid_and_sleep(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


def die_while_sending(size: int) -> bytes:
    """A result of `size` bytes from a worker that is killed about when it is sent."""
    if size > 1 << 20:
        threading.Timer(0.002, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return bytes(size)
