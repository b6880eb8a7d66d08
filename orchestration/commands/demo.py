"""`luca demo`: the whole lifecycle for one recipe through Dagster, on a loopback upstream.

Everything it makes stays under LUCA_HOME: the store, the Dagster instance, the served model. Run it
again and it recomputes nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import uuid

import click

from orchestration.profile import Profile


@click.command()
@click.option("--recipe", default="tiny", show_default=True, help="A training recipe, by name.")
@click.option("--stop", is_flag=True, help="Stop the served model at the end; the default leaves it up.")
@click.pass_obj
def demo(profile: Profile, recipe: str, stop: bool) -> None:
    """Run the whole lifecycle on the sample; end with a served, traced answer."""
    started = time.monotonic()
    with profile.upstream() as upstream:
        settings = profile.activate(upstream.url)
        click.echo(f"LUCA demo: recipe {recipe}, items from {profile.items}")
        click.echo(f"  store {settings.store}, loopback upstream {upstream.url}\n")
        run_lifecycle(profile, recipe)
    from orchestration.closing import print_closing

    print_closing(settings, recipe, profile.option, seconds=time.monotonic() - started)
    if stop:
        from orchestration.commands.down import stop_services

        stop_services(settings)


def run_lifecycle(profile: Profile, recipe: str) -> None:
    """Execute the job in a process of its own and follow it; exits with 1 and the causes if it fails."""
    import dagster as dg

    from orchestration.progress import RunPrinter
    from resources.settings import Settings

    mark = uuid.uuid4().hex
    tags = {"dagster/partition": recipe, "luca/profile": profile.name, "luca/demo": mark}
    output = profile.home / "lifecycle.log"
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "orchestration.definitions"]
    with (
        output.open("wb") as stream,
        dg.DagsterInstance.get() as instance,
        RunPrinter(instance, mark, Settings.from_environment().jobs, sys.stdout) as printer,
    ):
        code = subprocess.call(
            [*command, "-j", "lifecycle", "--tags", json.dumps(tags)], stdout=stream, stderr=subprocess.STDOUT
        )
    if code or printer.failures or printer.status != dg.DagsterRunStatus.SUCCESS:
        causes = printer.failures or output.read_text(errors="replace").splitlines()[-15:]
        click.echo("\nThe lifecycle failed:\n  " + "\n  ".join(causes), err=True)
        click.echo(f"Dagster's own output: {output}", err=True)
        raise SystemExit(1)
    adopted = sum(bool(metadata.get("reused")) for metadata in printer.materialized.values())
    total = len(printer.materialized)
    if adopted == total:
        click.echo(f"\nNothing was recomputed: all {total} artifacts are unchanged.")
    else:
        click.echo(f"\n{total - adopted} of {total} artifacts were built, {adopted} adopted unchanged.")
