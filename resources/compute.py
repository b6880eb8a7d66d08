"""Map a function over named items in local processes: bounded in flight, in order, failures by item.

One bad item never ends the map, and never goes unnamed: an exception, a time-out or a worker that was
killed (out of memory, a crash in a C library) comes back as `Failed` beside the item's name.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import select
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from resources.processes import Process, alive, myself

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Success(Generic[R]):
    """What the function returned."""

    value: R


@dataclass(frozen=True)
class Failed:
    """Why an item has no result. ``error_type`` is the exception's class name, or ``Timeout``, or
    ``WorkerKilled``; ``traceback`` is the worker's own, empty where there was none to take."""

    error_type: str
    message: str
    traceback: str = ""


Result = Success[R] | Failed


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass
class _Task:
    name: str
    payload: bytes
    future: Any
    """pebble's future, or Failed when the item never left this process."""
    tries: int = 1


class LocalCompute:
    """Local worker processes; ``workers=None`` is one per core, ``workers=0`` runs in this process.

    Workers are started from a fork server, so it is safe beside threads; they end with this process,
    however it ends.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 0:
            raise ValueError(f"workers={workers}: use None (one per core), 0 (no processes) or a count")
        self.workers = available_cores() if workers is None else workers

    def map(
        self,
        function: Callable[[T], R],
        items: Iterable[tuple[str, T]],
        *,
        timeout_seconds: float | None = None,
        in_flight: int | None = None,
        initializer: Callable[[], None] | None = None,
    ) -> Iterator[tuple[str, Result[R]]]:
        """Yield (name, Success or Failed) for each (name, item), in the items' order.

        Items are taken from the iterable only ``in_flight`` ahead (twice the workers by default), so
        memory is bounded by that many items and results. An item that runs longer than
        ``timeout_seconds`` is killed and reported (not with ``workers=0``, where nothing can stop it).
        An item whose worker was killed is tried once more. ``initializer`` runs once in each worker.
        Function and items must be picklable: TypeError at once where the function is not.
        """
        if self.workers == 0:
            return _map_here(function, items, initializer)
        _check_picklable(function, "function")
        if initializer is not None:
            _check_picklable(initializer, "initializer")
        bound = max(in_flight or 2 * self.workers, 1)
        return _map_in_processes(function, items, self.workers, bound, timeout_seconds, initializer)


def _check_picklable(value: Callable[..., Any], role: str) -> None:
    try:
        pickle.dumps(value)
    except Exception as error:
        raise TypeError(
            f"{role} {getattr(value, '__qualname__', value)!r} cannot be sent to a worker ({error}): use a "
            "function at the top level of a module, with functools.partial for its settings"
        ) from None


def _map_here(
    function: Callable[[T], R], items: Iterable[tuple[str, T]], initializer: Callable[[], None] | None
) -> Iterator[tuple[str, Result[R]]]:
    if initializer is not None:
        initializer()
    for name, item in items:
        try:
            yield name, Success(function(item))
        except Exception as error:
            yield name, _failed(error)


def _map_in_processes(
    function: Callable[[T], R],
    items: Iterable[tuple[str, T]],
    workers: int,
    bound: int,
    timeout: float | None,
    initializer: Callable[[], None] | None,
) -> Iterator[tuple[str, Result[R]]]:
    from pebble import ProcessPool

    context = multiprocessing.get_context("forkserver")
    pool: Any = ProcessPool(
        max_workers=workers, initializer=_end_with_caller, initargs=(myself(),), context=context
    )

    def schedule(payload: bytes) -> Any:
        return pool.schedule(_run, args=(payload,), timeout=timeout)

    waiting: deque[_Task] = deque()
    source = iter(items)
    finished = False
    try:
        while True:
            while not finished and len(waiting) < bound:
                try:
                    name, item = next(source)
                except StopIteration:
                    finished = True
                    break
                try:
                    payload = pickle.dumps((function, item, initializer))
                except Exception as error:
                    waiting.append(_Task(name, b"", Failed("NotPicklable", f"{name}: the item: {error}")))
                else:
                    waiting.append(_Task(name, payload, schedule(payload)))
            if not waiting:
                break
            task = waiting.popleft()
            yield task.name, _result(task, schedule, timeout)
        pool.close()
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.join()


def _result(task: _Task, schedule: Callable[[bytes], Any], timeout: float | None) -> Result[Any]:
    from pebble import ProcessExpired

    if isinstance(task.future, Failed):
        return task.future
    while True:
        try:
            answer: Result[Any] = pickle.loads(task.future.result())
            return answer
        except FutureTimeoutError:
            return Failed("Timeout", f"{task.name}: still running after {timeout} s, ended")
        except ProcessExpired as error:
            if task.tries == 1:
                task.tries = 2
                task.future = schedule(task.payload)
                continue
            return Failed(
                "WorkerKilled", f"{task.name}: its worker process died twice ({_how(error.exitcode)})"
            )


def _how(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit status {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def _end_with_caller(caller: Process) -> None:
    """In the worker: end when the caller does, however it ends. The fork server, which is our parent, lives
    as long as its children do, so its end would be no sign."""
    handle = os.pidfd_open(caller.pid)

    def watch() -> None:
        select.select([handle], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    if not alive(caller):
        os._exit(1)
    threading.Thread(target=watch, name="end-with-caller", daemon=True).start()


_initialized: set[Callable[[], None]] = set()


def _run(payload: bytes) -> bytes:
    """In the worker: an exception becomes a value here, where its traceback still means something.

    Pickled on both ways by us and not by the pool, where a failure would end the worker.
    """
    result: Result[Any]
    try:
        function, item, initializer = pickle.loads(payload)
        if initializer is not None and initializer not in _initialized:
            initializer()
            _initialized.add(initializer)
        result = Success(function(item))
    except BaseException as error:  # SystemExit too: an item must not end the map
        return pickle.dumps(_failed(error))
    try:
        return pickle.dumps(result)
    except Exception as error:
        return pickle.dumps(Failed("NotPicklable", f"the result: {error}"))


def _failed(error: BaseException) -> Failed:
    return Failed(type(error).__name__, str(error), traceback.format_exc())
