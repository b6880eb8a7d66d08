"""The `luca` command. Each sub-command lives in orchestration/commands/<name>.py, loaded when used."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import click

from orchestration.profile import profile_for

COMMANDS = {
    "demo": "Run the whole lifecycle on the sample; end with a served, traced answer.",
    "ui": "Open Dagster with its daemon, on the same store and instance.",
    "ask": "Ask the served model; the answer comes with its trace.",
    "trace": "Name the documents, items and licences in which a text, or an answer, stands.",
    "takedown": "Name everything that a source item reached.",
    "sources": "List and check the catalogue.",
    "store": "List, show, verify and clean the store.",
    "keys": "Create, list and revoke the gateway's API keys.",
    "down": "Stop what is being served.",
}


class LazyGroup(click.Group):
    """Imports a command's module only when it runs: `luca --help` stays instant."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"orchestration.commands.{name}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup)
@click.option(
    "--sample",
    type=click.Path(path_type=Path),
    help="Folder of items that the demo ran on; without it, the shipped sample and the LUCA_* settings.",
)
@click.version_option(package_name="luca")
@click.pass_context
def main(context: click.Context, sample: Path | None) -> None:
    """LUCA: the whole life of a domain language model about life."""
    try:
        profile = profile_for(sample)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    # Every folder of items has a home of its own: the commands look into that one.
    os.environ["LUCA_HOME"] = str(profile.home)
    if sample is not None:
        os.environ.setdefault("LUCA_CATALOG", str(profile.catalog))
        if shared := os.environ.get("LUCA_STORE"):
            os.environ["LUCA_STORE"] = f"{shared.rstrip('/')}/samples/{profile.name}"
    context.obj = profile


if __name__ == "__main__":
    main()
