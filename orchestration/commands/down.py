"""`luca down`: stop the gateway and every engine."""

from __future__ import annotations

import click

from resources.settings import Settings


def stop_services(settings: Settings) -> list[str]:
    """End what is served from these settings' home; returns the keys of the jobs that were ended."""
    from resources.launcher import LocalLauncher
    from serving import deploy

    return deploy.stop_services(LocalLauncher(settings.jobs))


@click.command()
def down() -> None:
    """Stop what is being served; `make demo` or the asset endpoint/release starts it again."""
    ended = stop_services(Settings.from_environment())
    click.echo("\n".join(f"ended {key}" for key in ended) or "nothing was served")
