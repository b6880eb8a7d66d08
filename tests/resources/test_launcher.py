"""The launcher with real processes: submit or attach, faults, trees that resist."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from resources.job_folder import JobFolder
from resources.launcher import JobError, LocalLauncher, Program
from resources.processes import identify, myself, send, tagged

STUBBORN_TREE = """
import os, signal, subprocess, sys, time
from pathlib import Path
job = Path(sys.argv[1])
grandchild = (
    "import os,signal,sys,time;signal.signal(signal.SIGTERM,signal.SIG_IGN);"
    "open(sys.argv[1],'w').write(str(os.getpid()));time.sleep(600)"
)
child = (
    "import subprocess,sys,time;"
    "subprocess.Popen([sys.executable,'-c',sys.argv[2],sys.argv[1]],start_new_session=True);time.sleep(600)"
)
subprocess.Popen([sys.executable, "-c", child, str(job / "grandchild"), grandchild])
time.sleep(600)
"""


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(tmp_path / "jobs", grace_seconds=0.5)
    yield launcher
    for job in launcher.jobs():
        launcher.cancel(job.key)
        for process in tagged(job.directory):
            send(process, signal.SIGKILL)


def python(code: str, **env: str) -> Program:
    return Program((sys.executable, "-c", code), env)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def nobody_left(directory: Path) -> bool:
    return tagged(directory) == []


def test_a_job_runs_to_success_and_says_so(launcher: LocalLauncher) -> None:
    code = (
        "import json,os,sys;from pathlib import Path;from resources.job_folder import report_progress;"
        "job=Path(sys.argv[1]);spec=json.loads((job/'spec.json').read_text());"
        "report_progress(job,'work',3,4,'steps','well');print(spec['word'],os.environ['LUCA_JOB'],os.environ['X'])"
    )
    job = launcher.submit("k1", python(code, X="extra"), {"word": "hello"})
    seen: list[dict[str, object]] = []
    assert job.wait(poll=0.05, on_progress=seen.append, timeout=30) == "succeeded"
    assert not job.attached
    assert job.exit_code == 0 and job.reason == ""
    assert job.log_tail().strip() == "hello k1 extra"
    assert seen[-1] == {"stage": "work", "done": 3, "total": 4, "unit": "steps", "message": "well"}
    assert "extra" not in (job.directory / "record.json").read_text()
    assert [j.key for j in launcher.jobs()] == ["k1"]
    assert launcher.job("other") is None


def test_submit_attaches_while_running_and_after_success(launcher: LocalLauncher) -> None:
    program = python(
        "import sys,time;from pathlib import Path;p=Path(sys.argv[1])/'go'\n"
        "while not p.exists(): time.sleep(0.02)"
    )
    first = launcher.submit("k", program, {})
    second = LocalLauncher(launcher.root).submit("k", program, {})
    assert second.attached and second.record.supervisor == first.record.supervisor
    (first.directory / "go").touch()
    assert first.wait(poll=0.05, timeout=30) == "succeeded"
    assert launcher.submit("k", program, {}).record.attempt == 1
    again = launcher.submit("k", program, {}, again=True)
    assert again.record.attempt == 2 and again.wait(poll=0.05, timeout=30) == "succeeded"


def test_many_submits_at_once_start_one(launcher: LocalLauncher) -> None:
    program = python("import os,sys,time;open(sys.argv[1]+'/starts','a').write('x');time.sleep(600)")
    views: list[bool] = []

    def submit() -> None:
        views.append(LocalLauncher(launcher.root, 0.5).submit("k", program, {}).attached)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    job = launcher.job("k")
    assert job is not None
    until(lambda: (job.directory / "starts").exists())
    time.sleep(0.3)
    assert sorted(views) == [False] + [True] * 7
    assert (job.directory / "starts").read_text() == "x"


def test_failure_keeps_exit_code_reason_and_log_and_may_be_tried_again(launcher: LocalLauncher) -> None:
    job = launcher.submit("k", python("print('about to fail', flush=True); raise SystemExit(3)"), {})
    assert job.wait(poll=0.05, timeout=30) == "failed"
    assert (job.exit_code, job.reason) == (3, "exit status 3")
    assert "about to fail" in job.log_tail()
    better = launcher.submit("k", python("print('better')"), {})
    assert better.wait(poll=0.05, timeout=30) == "succeeded"
    assert better.record.attempt == 2 and better.log_tail() == "better"
    assert better.record.attempts[0]["exit_code"] == 3


def test_a_program_that_cannot_start_fails_with_the_cause(launcher: LocalLauncher) -> None:
    job = launcher.submit("k", Program(("/nonexistent/program",)), {})
    assert job.wait(poll=0.05, timeout=30) == "failed"
    assert "/nonexistent/program" in job.reason


def test_death_by_signal_is_named(launcher: LocalLauncher) -> None:
    job = launcher.submit("k", python("import os,signal; os.kill(os.getpid(), signal.SIGKILL)"), {})
    assert job.wait(poll=0.05, timeout=30) == "failed"
    assert (job.exit_code, job.reason) == (-9, "killed by SIGKILL")


def test_cancel_ends_a_tree_with_a_grandchild_that_ignores_term(launcher: LocalLauncher) -> None:
    job = launcher.submit("k", python(STUBBORN_TREE), {})
    until(lambda: (job.directory / "grandchild").exists() and (job.directory / "grandchild").read_text())
    grandchild = identify(int((job.directory / "grandchild").read_text()))
    assert grandchild is not None and len(tagged(job.directory)) == 4  # supervisor and three below
    launcher.cancel("k")
    assert job.state == "cancelled"
    assert identify(grandchild.pid) != grandchild
    until(lambda: nobody_left(job.directory))  # the supervisor itself is on its way out
    assert launcher.cancel("k") is not None and launcher.cancel("never") is None


def test_a_program_that_ignores_term_gets_the_grace_and_then_is_killed(launcher: LocalLauncher) -> None:
    code = (
        "import signal,sys,time;signal.signal(signal.SIGTERM,lambda *a:print('no',flush=True));"
        "open(sys.argv[1]+'/ready','w');\nwhile True: time.sleep(1)"
    )
    job = launcher.submit("k", python(code), {})
    until((job.directory / "ready").exists)
    started = time.monotonic()
    launcher.cancel("k")
    assert 0.5 <= time.monotonic() - started < 10
    assert (job.state, job.exit_code, job.log_tail()) == ("cancelled", -9, "no")


def test_what_a_finished_program_leaves_behind_is_ended_before_success(launcher: LocalLauncher) -> None:
    code = (
        "import subprocess,sys;p=subprocess.Popen([sys.executable,'-c','import time;time.sleep(600)'],"
        "env={},start_new_session=True);print(p.pid)"  # no environment to be found by: by descent only
    )
    job = launcher.submit("k", python(code), {})
    assert job.wait(poll=0.05, timeout=30) == "succeeded"
    assert identify(int(job.log_tail())) is None


def test_a_killed_supervisor_is_lost_then_reaped_with_its_tree(launcher: LocalLauncher) -> None:
    job = launcher.submit("k", python(STUBBORN_TREE), {})
    until(lambda: (job.directory / "grandchild").exists() and (job.directory / "grandchild").read_text())
    supervisor = job.record.supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    until(lambda: job.state == "lost")
    assert not nobody_left(job.directory)  # the grandchild that ignores TERM
    assert [j.key for j in launcher.reap()] == ["k"]
    assert nobody_left(job.directory)
    assert job.state == "lost" and "ended" in job.reason
    assert launcher.reap() == []


def test_submit_after_a_killed_supervisor_clears_the_rest_before_it_starts(launcher: LocalLauncher) -> None:
    job = launcher.submit("k", python(STUBBORN_TREE), {})
    until(lambda: (job.directory / "grandchild").exists() and (job.directory / "grandchild").read_text())
    old = {p.pid for p in tagged(job.directory)}
    supervisor = job.record.supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    until(lambda: job.state == "lost")
    look = (
        "import sys;from pathlib import Path;from resources.processes import tagged;"
        "print(*[p.pid for p in tagged(Path(sys.argv[1]))])"
    )
    again = launcher.submit("k", python(look), {})
    assert again.wait(poll=0.05, timeout=30) == "succeeded"
    assert again.record.attempt == 2
    seen = {int(word) for word in again.log_tail().split()}
    assert len(seen) == 2 and not seen & old  # the new supervisor and the program, nobody else


def test_a_launcher_killed_between_the_record_and_the_supervisor_blocks_nothing(
    launcher: LocalLauncher,
) -> None:
    job = launcher.submit("k", python("print('ok')"), {})
    job.wait(poll=0.05, timeout=30)
    folder = JobFolder(job.directory)
    record = folder.read_record()
    assert record is not None
    folder.update(record, state="starting", attempt=2, supervisor=None, submitted_at=time.time())
    again = launcher.submit("k", python("print('fresh')"), {})
    assert again.wait(poll=0.05, timeout=30) == "succeeded"
    assert again.record.attempt == 3 and again.log_tail() == "fresh"


def test_a_later_owner_of_the_same_process_id_is_not_taken_for_the_supervisor(
    launcher: LocalLauncher,
) -> None:
    job = launcher.submit("k", python("print('ok')"), {})
    job.wait(poll=0.05, timeout=30)
    folder = JobFolder(job.directory)
    record = folder.read_record()
    me = myself()
    assert record is not None
    folder.update(record, state="running", supervisor=replace(me, start=me.start - 1))
    assert job.state == "lost"
    assert not send(replace(me, start=me.start - 1), signal.SIGKILL)
    folder.update(record, state="running", supervisor=me)
    assert job.state == "running"
    folder.write_record(record)


def test_a_supervisor_in_another_namespace_is_judged_by_its_heartbeat(launcher: LocalLauncher) -> None:
    job = launcher.submit("k", python("print('ok')"), {})
    job.wait(poll=0.05, timeout=30)
    folder = JobFolder(job.directory)
    record = folder.read_record()
    assert record is not None
    folder.update(record, state="running", supervisor=replace(myself(), world="elsewhere"))
    folder.beat()
    assert job.state == "running"
    os.utime(folder.heartbeat_file, (1, 1))
    assert job.state == "lost"


def test_much_output_blocks_nothing(launcher: LocalLauncher) -> None:
    code = (
        "import sys\nfor i in range(200): sys.stdout.write('x'*1023+'\\n'); sys.stderr.write('e\\n')\n"
        "print('end')"
    )
    job = launcher.submit("k", python(code), {})
    assert job.wait(poll=0.05, timeout=30) == "succeeded"
    assert job.log_path.stat().st_size > 200_000
    assert job.log_tail(1) == "end"


def test_a_service_lives_until_cancelled_and_names_its_url(launcher: LocalLauncher) -> None:
    code = (
        "import sys,time;from pathlib import Path;from resources.job_folder import announce_service;"
        "announce_service(Path(sys.argv[1]),'http://127.0.0.1:1');time.sleep(600)"
    )
    job = launcher.submit("k", python(code), {}, kind="service")
    until(job.service_url)
    assert job.service_url() == "http://127.0.0.1:1"
    assert launcher.submit("k", python(code), {}, kind="service").attached
    launcher.cancel("k")
    assert (job.state, job.service_url()) == ("cancelled", None)
    assert not launcher.submit("k", python(code), {}, kind="service").attached


def test_terminating_the_supervisor_ends_the_job_as_failed(launcher: LocalLauncher) -> None:
    job = launcher.submit("k", python("import time;time.sleep(600)"), {})
    until(lambda: job.state == "running")
    supervisor = job.record.supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGTERM)
    assert job.wait(poll=0.05, timeout=30) == "failed"
    assert "SIGTERM" in job.reason
    until(lambda: nobody_left(job.directory))


def test_bad_keys_and_damaged_records_are_named(launcher: LocalLauncher) -> None:
    for key in ("", "../up", "a/b", ".hidden", "x" * 129):
        with pytest.raises(ValueError, match="job key"):
            launcher.submit(key, python(""), {})
    job = launcher.submit("k", python(""), {})
    job.wait(poll=0.05, timeout=30)
    (job.directory / "record.json").write_text(json.dumps({"key": "k"}))
    with pytest.raises(ValueError, match=r"record\.json: not a job record"):
        _ = job.state
    (job.directory / "record.json").write_text("{")
    with pytest.raises(ValueError, match=r"record\.json: not JSON"):
        _ = job.state
    (job.directory / "record.json").unlink()
    with pytest.raises(JobError, match="no record"):
        _ = job.record
