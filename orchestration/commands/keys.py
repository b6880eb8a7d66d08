"""`luca keys`: the gateway's API keys. A key is shown once, when it is made."""

from __future__ import annotations

import time
from typing import Any

import click

from resources.settings import Settings


def _ring() -> Any:
    from serving.deploy import serving_folder
    from serving.keys import KeyRing

    return KeyRing(serving_folder(Settings.from_environment().home))


@click.group()
def keys() -> None:
    """Create, list and revoke the gateway's API keys."""


@keys.command()
@click.argument("name")
@click.option(
    "--requests-per-minute", default=600.0, show_default=True, help="Requests a minute, on average."
)
@click.option("--burst", default=60, show_default=True, help="Requests at once.")
@click.option("--tokens-per-minute", default=200_000.0, show_default=True, help="Prompt and answer together.")
def create(name: str, requests_per_minute: float, burst: int, tokens_per_minute: float) -> None:
    """Make a key called NAME and print it; it cannot be shown again."""
    from serving.keys import KeysError
    from serving.limits import Limits

    try:
        text, key = _ring().create(name, Limits(requests_per_minute, burst, tokens_per_minute))
    except KeysError as error:
        raise click.ClickException(str(error)) from None
    click.echo(text)
    click.echo(f"id {key.id}; kept as a digest only, so write it down. It counts within a second.", err=True)


@keys.command("list")
def list_keys() -> None:
    """List the keys: id, name, when made, limits, whether revoked."""
    from rich.console import Console
    from rich.table import Table

    from serving.keys import KeysError

    try:
        found = _ring().read()
    except KeysError as error:
        raise click.ClickException(str(error)) from None
    table = Table("id", "name", "made", "requests/min", "burst", "tokens/min", "state", pad_edge=False)
    for key in found:
        made = time.strftime("%Y-%m-%d %H:%M", time.gmtime(key.created))
        limits = key.limits
        state = "live" if key.revoked is None else "revoked"
        table.add_row(
            key.id, key.name, made, f"{limits.requests_per_minute:g}", str(limits.burst),
            f"{limits.tokens_per_minute:g}", state,
        )  # fmt: skip
    Console(highlight=False).print(table)


@keys.command()
@click.argument("name_or_id")
def revoke(name_or_id: str) -> None:
    """Revoke the key of this name or id; the gateway refuses it within a second."""
    from serving.keys import KeysError

    try:
        key = _ring().revoke(name_or_id)
    except KeysError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"revoked {key.name} ({key.id})")
