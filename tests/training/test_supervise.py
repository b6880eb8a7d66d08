"""The supervisor on its own: one at a time, verdicts, and the ending of trees."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resources.job_folder import JobFolder, Record, read_json
from resources.processes import Process, alive, descendants, end_all, identify, myself, send, tagged
from training import supervise


def prepared(directory: Path, *argv: str, state: str = "starting") -> JobFolder:
    """A folder as the launcher leaves it for the supervisor."""
    folder = JobFolder(directory)
    folder.attempt_folder(1).mkdir(parents=True)
    folder.write_record(
        Record(
            key=directory.name,
            kind="job",
            state=state,
            attempt=1,
            argv=argv,
            cwd=str(directory),
            grace_seconds=0.3,
            submitted_at=time.time(),
        )
    )
    return folder


def run_supervisor(directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training.supervise", str(directory)],
        env={**os.environ, "LUCA_JOB": directory.name, "LUCA_JOB_DIR": str(directory)},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_passes_the_folder_to_the_program_and_records_the_end(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "k", sys.executable, "-c", "import os,sys;print(sys.argv[1], os.getcwd())")
    done = run_supervisor(folder.directory)
    assert done.stdout.split() == [str(folder.directory)] * 2
    record = folder.read_record()
    assert record is not None and record.program is not None and record.supervisor is not None
    assert (done.returncode, record.state, record.exit_code) == (0, "succeeded", 0)
    assert record.submitted_at <= (record.started_at or 0) <= (record.ended_at or 0)
    assert folder.heartbeat_age() is not None
    assert not list(folder.directory.glob(".*"))  # no temporary file stays


def test_the_program_has_a_session_of_its_own_and_no_blocked_signals(tmp_path: Path) -> None:
    code = "import os,signal;print(os.getsid(0)==os.getpid(), signal.pthread_sigmask(signal.SIG_BLOCK,[]))"
    folder = prepared(tmp_path / "k", sys.executable, "-c", code)
    assert run_supervisor(folder.directory).stdout.strip() == "True set()"


def test_a_second_supervisor_leaves_the_job_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepared(tmp_path / "k", "/bin/true")
    with (folder.directory / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr(supervise, "LOCK_SECONDS", 0.1)
        with supervise.supervisor_lock(folder.directory) as mine:
            assert mine is False
    record = folder.read_record()
    assert record is not None and record.state == "starting"


@pytest.mark.parametrize("state", ["running", "succeeded", "cancelled"])
def test_a_late_supervisor_does_not_run_what_is_not_waiting_for_it(tmp_path: Path, state: str) -> None:
    folder = prepared(tmp_path / "k", "/bin/touch", state=state)
    before = read_json(folder.record_file)
    assert run_supervisor(folder.directory).returncode == supervise.NOT_MINE
    assert read_json(folder.record_file) == before


def test_a_cancel_that_came_before_the_start_is_obeyed(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "k", "/bin/sh", "-c", "sleep 600")
    folder.cancel_file(1).touch()
    run_supervisor(folder.directory)
    record = folder.read_record()
    assert record is not None and (record.state, record.exit_code) == ("cancelled", -15)


def test_orphans_that_daemonize_are_ended_with_the_job(tmp_path: Path) -> None:
    code = (
        "import os,subprocess,sys\n"
        "if os.fork()==0:\n"
        "    os.setsid()\n"
        "    p=subprocess.Popen(['/bin/sleep','600'],env={},stdin=-3,stdout=-3,stderr=-3)\n"
        "    open(sys.argv[1]+'/orphan','w').write(str(p.pid)); os._exit(0)\n"
        "os.wait()"
    )
    folder = prepared(tmp_path / "k", sys.executable, "-c", code)
    run_supervisor(folder.directory)
    assert identify(int((folder.directory / "orphan").read_text())) is None
    assert tagged(folder.directory) == []


@pytest.mark.parametrize(
    ("exit_code", "ended_by", "state", "reason"),
    [
        (0, "", "succeeded", ""),
        (2, "", "failed", "exit status 2"),
        (-11, "", "failed", "killed by SIGSEGV"),
        (-60, "", "failed", "killed by signal 60"),
        (0, "cancel", "cancelled", "cancelled on request"),
        (-15, "SIGTERM", "failed", "the supervisor was told to end by SIGTERM"),
    ],
)
def test_verdicts(exit_code: int, ended_by: str, state: str, reason: str) -> None:
    assert supervise.verdict(exit_code, ended_by) == (state, reason)


def test_a_process_is_its_id_and_its_start() -> None:
    me = myself()
    assert alive(me)
    assert not alive(Process(me.pid, me.start + 1, me.world))
    assert not alive(Process(me.pid, me.start, "another boot"))
    assert Process.from_json(me.to_json()) == me
    assert Process.from_json({"pid": 1}) is None and Process.from_json(None) is None


def test_end_all_reaches_processes_that_are_born_while_it_works() -> None:
    child = subprocess.Popen(
        ["/bin/sh", "-c", "trap 'sleep 600 & sleep 600' TERM; sleep 600"], stdin=subprocess.DEVNULL
    )
    try:
        time.sleep(0.2)
        below = descendants(child.pid)
        assert len(below) == 1

        def members() -> list[Process]:
            return [p for p in [identify(child.pid), *descendants(child.pid)] if p is not None]

        assert end_all(members, 0.5) == []
        assert child.wait(timeout=10) in (-9, 143)
    finally:
        child.kill()
    assert not send(below[0], signal.SIGTERM)


def test_a_log_that_grows_too_long_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "LOG_BYTES", 1000)
    monkeypatch.setattr(supervise, "LOG_KEPT", 10)
    path = tmp_path / "log.txt"
    with path.open("ab", buffering=0) as log:
        log.write(b"a" * 1000)
        supervise.bound_log(path)
        assert path.stat().st_size == 1000
        log.write(b"the end")
        supervise.bound_log(path)
        log.write(b"goes on")
    assert path.read_bytes() == b"goes on"
    assert (tmp_path / "log.1.txt").read_bytes() == b"aaathe end"
    supervise.bound_log(tmp_path / "none")


def test_a_heartbeat_from_before_the_clock_went_back_is_old(tmp_path: Path) -> None:
    folder = prepared(tmp_path / "k", "true")
    folder.beat()
    assert (folder.heartbeat_age() or 0) < 5
    os.utime(folder.heartbeat_file, (time.time() + 3600,) * 2)
    assert (folder.heartbeat_age() or 0) > 3000
