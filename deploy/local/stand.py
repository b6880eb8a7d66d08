"""Start and stop the local upstream as a process of its own, for the demo and for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
SAMPLE = Path(__file__).resolve().parent / "sample"


@dataclass(frozen=True)
class Upstream:
    """A running upstream: where it is really reached, its public origin, its process."""

    url: str
    origin: str
    pid: int
    pid_file: Path

    @property
    def route(self) -> str:
        """The part of LUCA_ROUTES that leads the origin here."""
        return f"{self.origin}={self.url}"

    @classmethod
    def start(
        cls,
        items: Path | None = SAMPLE,
        *,
        mapping: str | None = None,
        root: Path | None = None,
        port: int = 0,
        log: Path,
        faults: str = "",
        options: tuple[str, ...] = (),
        timeout: float = 30.0,
    ) -> Upstream:
        """Start a detached server over a folder of items, or over ``root`` by a mapping module.

        ``log`` takes its output; ``log``.pid names the process. Raises RuntimeError with the log's
        end when it does not answer within ``timeout`` seconds.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        port_file, pid_file = log.with_suffix(".port"), log.with_suffix(".pid")
        port_file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "deploy.local.upstream", "--port", str(port)]
        command += ["--port-file", str(port_file.resolve()), "--faults", faults, *options]
        if mapping is not None:
            command += ["--mapping", mapping, "--root", str(Path(root or ".").resolve())]
            origin = "http://golden.luca.test"
        else:
            command += ["--items", str(Path(items or SAMPLE).resolve())]
            origin = "http://sample.luca.test"
        if "--origin" in options:
            origin = options[options.index("--origin") + 1]
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        pid_file.write_text(f"{process.pid}\n")
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and process.poll() is None:
            if port_file.exists():
                url = f"http://127.0.0.1:{port_file.read_text().strip()}"
                if _healthy(url):
                    return cls(url, origin, process.pid, pid_file)
            time.sleep(0.05)
        if process.poll() is None:
            process.kill()
            process.wait()
        tail = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"the local upstream did not start; the end of {log}:\n{tail}")

    def stop(self, grace: float = 5.0) -> None:
        """End the process, by its id; quiet if it has gone already."""
        for sign, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, grace)):
            try:
                os.kill(self.pid, sign)
            except ProcessLookupError:
                break
            if _gone(self.pid, patience):
                break
        self.pid_file.unlink(missing_ok=True)


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_upstream/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _gone(pid: int, patience: float) -> bool:
    """Wait for the end; reaps the process if it is our own child."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == pid:
                return True
        except ChildProcessError:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return True
        time.sleep(0.05)
    return False
