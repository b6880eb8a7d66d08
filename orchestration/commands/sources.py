"""`luca sources list | check`: the catalogue, and what is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.group()
def sources() -> None:
    """List and check the catalogue."""


def _catalog_option(command: click.decorators.FC) -> click.decorators.FC:
    return click.option(
        "--catalog",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Catalogue file; LUCA_CATALOG unless given.",
    )(command)


def _path(catalog: Path | None) -> Path:
    from resources.settings import Settings

    return catalog or Settings.from_environment().catalog


@sources.command(name="list")
@_catalog_option
def list_(catalog: Path | None) -> None:
    """Show the entries, and how many items of each the store holds."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from assets.sources.catalog import CatalogError, load_catalog
    from resources.settings import Settings
    from resources.store import Store

    path = _path(catalog)
    try:
        entries = load_catalog(path)
    except CatalogError as error:
        raise click.ClickException(str(error)) from None
    store = Store.open(Settings.from_environment().store)
    # Narrow enough for 80 columns: a name or a licence that is cut off is of no use.
    table = Table(title=str(path), title_justify="left", title_style="dim", box=SIMPLE, padding=(0, 1, 0, 0))
    for column in ("source", "protocol", "holds", "licence", "refreshed", "in the store"):
        table.add_column(column, overflow="fold", no_wrap=column in ("source", "protocol"))
    for entry in entries:
        manifest = store.head(f"sources/{entry.name}")
        statuses = manifest.figures.get("statuses", {}) if manifest else {}
        table.add_row(
            entry.name,
            entry.protocol,
            f"{entry.modality}, {entry.domain}",
            entry.licence.spdx or "per item",
            entry.cadence if entry.enabled else "disabled",
            ", ".join(f"{n:,} {status}" for status, n in statuses.items()) or "-",
        )
    console = Console(highlight=False)
    console.print(table)
    for entry in entries:
        if not entry.enabled:
            console.print(f"{entry.name}: {entry.reason}")


@sources.command()
@_catalog_option
def check(catalog: Path | None) -> None:
    """Say what is wrong with the catalogue, to the field. Exit code 1 if anything is."""
    from assets.sources.catalog import CatalogError, load_catalog

    path = _path(catalog)
    try:
        entries = load_catalog(path)
    except CatalogError as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    enabled = sum(entry.enabled for entry in entries)
    protocols = ", ".join(sorted({entry.protocol for entry in entries}))
    click.echo(f"{path}: {len(entries)} entries are well formed, {enabled} enabled ({protocols}).")
