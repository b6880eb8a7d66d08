"""`luca ui`: Dagster's web page and daemon on the demo's store and instance."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

import click

from orchestration.profile import Profile


@click.command()
@click.option("--port", default=3000, show_default=True, help="Port of the web page, on loopback.")
@click.pass_obj
def ui(profile: Profile, port: int) -> None:
    """Open Dagster with its daemon, on the same store and instance as the demo."""
    with profile.upstream() as upstream:
        profile.activate(upstream.url)
        click.echo(f"Dagster on http://127.0.0.1:{port} (Ctrl-C stops it). Instance: {profile.dagster_home}")
        dagster = [sys.executable, "-m", "dagster", "dev", "-m", "orchestration.definitions"]
        signal.signal(signal.SIGTERM, _leave)
        # A shell starts background jobs with Ctrl-C ignored; Dagster would inherit that, and never end.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        arguments = [*dagster, "-h", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(arguments, start_new_session=True)
        try:
            code = process.wait()
        except KeyboardInterrupt:
            code = 0
        finally:
            end(process)
    raise SystemExit(code)


def _leave(*_: object) -> None:
    # As Ctrl-C: through the blocks that stop Dagster and the upstream.
    raise SystemExit(143)


def end(process: subprocess.Popen[bytes]) -> None:
    """Let Dagster stop its web page, daemon and code server; whatever of them stays is killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=30)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
