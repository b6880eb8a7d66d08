"""`luca ui`: Dagster's web page and daemon on the demo's store and instance."""

from __future__ import annotations

import subprocess
import sys

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
        code = subprocess.call([*dagster, "-h", "127.0.0.1", "-p", str(port)])
    raise SystemExit(code)
