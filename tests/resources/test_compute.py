"""Maps over real worker processes: order, bounds, failures by item."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.compute import Failed, LocalCompute, Success
from resources.processes import identify
from tests.resources import compute_functions as functions


def named(values: range) -> Iterator[tuple[str, int]]:
    return ((f"item-{value}", value) for value in values)


@pytest.mark.parametrize("workers", [0, 2])
def test_results_come_in_the_items_order_with_their_names(workers: int) -> None:
    results = list(LocalCompute(workers).map(functions.slow_when_even, named(range(9))))
    assert results == [(f"item-{x}", Success(x)) for x in range(9)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_is_reported_by_item_and_the_rest_goes_on(workers: int) -> None:
    results = dict(LocalCompute(workers).map(functions.fail_on_three, named(range(6))))
    failed = results.pop("item-3")
    assert isinstance(failed, Failed)
    assert (failed.error_type, failed.message) == ("ValueError", "three is right out")
    assert "fail_on_three" in failed.traceback
    assert all(isinstance(result, Success) for result in results.values())


def test_an_item_that_calls_exit_ends_nothing_but_itself() -> None:
    ((_, result),) = LocalCompute(1).map(functions.leave, [("x", 3)])
    assert isinstance(result, Failed) and (result.error_type, result.message) == ("SystemExit", "3")


def test_no_more_items_are_taken_than_the_bound() -> None:
    taken = 0

    def source() -> Iterator[tuple[str, int]]:
        nonlocal taken
        for x in range(40):
            taken += 1
            yield str(x), x

    for done, _ in enumerate(LocalCompute(2).map(functions.double, source(), in_flight=3), start=1):
        assert taken <= done + 3
    assert done == 40


def test_a_time_out_kills_the_worker_and_names_the_item() -> None:
    items = [("quick", 0.0), ("stuck", 600.0), ("after", 0.01)]
    started = time.monotonic()
    results = dict(LocalCompute(1).map(functions.sleep, items, timeout_seconds=0.5))
    assert time.monotonic() - started < 20
    stuck = results["stuck"]
    assert isinstance(stuck, Failed) and stuck.error_type == "Timeout" and "stuck" in stuck.message
    assert results["quick"] == Success(0.0) and results["after"] == Success(0.01)


def test_a_killed_workers_item_is_tried_once_more(tmp_path: Path) -> None:
    items = [("a", ""), ("b", str(tmp_path / "marker")), ("c", "")]
    results = list(LocalCompute(2).map(functions.die_first_time, items))
    assert results == [(name, Success("alive")) for name in "abc"]


def test_an_item_that_kills_its_worker_twice_is_reported_with_the_cause() -> None:
    results = dict(LocalCompute(2).map(functions.die_always, named(range(4))))
    killed = results.pop("item-1")
    assert isinstance(killed, Failed) and killed.error_type == "WorkerKilled" and "SIGKILL" in killed.message
    assert results == {f"item-{x}": Success(x) for x in (0, 2, 3)}


def test_the_initializer_runs_once_in_each_worker() -> None:
    compute = LocalCompute(2)
    results = [
        r for _, r in compute.map(functions.how_ready, named(range(20)), initializer=functions.get_ready)
    ]
    assert all(isinstance(r, Success) and r.value[1] == 1 for r in results)
    assert os.getpid() not in {r.value[0] for r in results if isinstance(r, Success)}


def test_what_cannot_be_pickled_is_said_clearly() -> None:
    with pytest.raises(TypeError, match="top level of a module"):
        list(LocalCompute(1).map(lambda x: x, named(range(1))))
    (_, item), (_, fine) = LocalCompute(1).map(functions.double, [("bad", lambda: 1), ("good", 2)])  # type: ignore[list-item]
    assert isinstance(item, Failed) and item.error_type == "NotPicklable" and "bad" in item.message
    assert fine == Success(4)
    ((_, result),) = LocalCompute(1).map(functions.return_a_lambda, named(range(1)))
    assert isinstance(result, Failed) and result.error_type == "NotPicklable"
    assert "lambda" in result.message


def test_leaving_early_ends_the_workers() -> None:
    results = LocalCompute(2).map(functions.how_ready, named(range(1000)))
    _, first = next(results)
    assert isinstance(first, Success)
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while identify(first.value[0]) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_no_items_and_bad_settings() -> None:
    assert list(LocalCompute(2).map(functions.double, [])) == []
    with pytest.raises(ValueError, match="workers=-1"):
        LocalCompute(-1)
    assert LocalCompute().workers >= 1


def test_workers_do_not_outlive_a_killed_caller(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from resources.compute import LocalCompute\n"
        "from tests.resources.compute_functions import write_pid_and_sleep\n"
        "if __name__ == '__main__':\n"
        "    list(LocalCompute(1).map(write_pid_and_sleep, [('x', sys.argv[1])]))\n"
    )
    (tmp_path / "caller.py").write_text(code)
    file = tmp_path / "pid"
    project = Path(__file__).resolve().parents[2]
    caller = subprocess.Popen(
        [sys.executable, str(tmp_path / "caller.py"), str(file)],
        env={**os.environ, "PYTHONPATH": str(project)},
    )
    deadline = time.monotonic() + 30
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    worker = int(file.read_text())
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    while identify(worker) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_that_is_killed_while_it_sends_blocks_nobody() -> None:
    sizes = [(f"item-{n}", 20_000_000 if n % 4 == 0 else 8) for n in range(8)]
    results = dict(LocalCompute(2).map(functions.die_while_sending, sizes))
    assert all(results[name] == Success(bytes(8)) for name, size in sizes if size == 8)
