"""`luca takedown ITEM --dry-run`: what a source item reached.

Exit codes: 0 the plan is printed; 1 the item is unknown, or the store cannot be read; 2 asked to withdraw.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from resources.settings import Settings

if TYPE_CHECKING:
    from rich.table import Table

    from assets.takedown import Duplicate, Reached, Takedown

PROCEDURE = """\
luca takedown names what an item reached; it does not withdraw anything yet.
Run it with --dry-run, then by hand:
  1. exclude the item in the catalogue, or ask upstream to delete it, and materialize its source:
     its row must no longer say "live";
  2. run the job `curate`, then `train`, `evaluate` and `release` for every recipe named;
  3. run it again with --dry-run: nothing current may be named;
  4. `luca store gc --keep 1` removes the versions that held it."""


@click.command()
@click.argument("item")
@click.option("--dry-run", is_flag=True, help="Only name what the item reached (required for now).")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--store", "uri", default=None, help="Store URI (default: LUCA_STORE).")
def takedown(item: str, dry_run: bool, as_json: bool, uri: str | None) -> None:
    """Name every document, window, shard, checkpoint, evaluation and release that ITEM reached.

    ITEM is an item id (<entry>/<upstream id>), its URL or its SHA-256.
    """
    if not dry_run:
        click.echo(PROCEDURE, err=True)
        sys.exit(2)
    from assets.takedown import ItemUnknown, plan_takedown
    from resources.store import Store, StoreError

    try:
        plan = plan_takedown(Store.open(uri or Settings.from_environment().store), item)
    except (ItemUnknown, StoreError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(plan.to_dict(), ensure_ascii=False, indent=1))
    else:
        show(plan)


def show(plan: Takedown) -> None:
    """Tables for people."""
    from rich.console import Console

    console = Console(highlight=False)
    items = _table("Source items", "item", "licence", "status", "title", "address")
    for i in plan.items:
        items.add_row(i.item_id, i.licence or "-", i.status, i.title or "-", i.url or "-")
    console.print(items)
    if plan.same_bytes:
        console.print(f"The same bytes also stand as: {', '.join(i.item_id for i in plan.same_bytes)}")
    documents = _table("Documents", "document", "characters", "in", "title")
    for d in plan.documents:
        documents.add_row(d.document_id, f"{d.characters:,}", _some(d.artifacts), d.title or "-")
    console.print(documents)
    _duplicates("Dropped as duplicates of these (their text stands here)", plan.merged_into_it)
    _duplicates("Dropped for others (a copy stays there)", plan.kept_elsewhere)
    if plan.tokens:
        tokens = _table("Windows and shards", "artifact", "version", "", "windows", "shards")
        for w in plan.tokens:
            count = f"{len(w.windows):,}: {_some([str(n) for n in w.windows], 6)}"
            tokens.add_row(w.artifact, w.version, _current(w.current), count, _some(w.shards))
        console.print(tokens)
    reached = _table("Built from them", "artifact", "version", "", "through")
    groups: tuple[list[Reached], ...] = (
        *(plan.mixtures, plan.vocabularies, plan.trace_indexes),
        *(plan.checkpoints, plan.evaluations, plan.releases),
    )
    for r in (r for group in groups for r in group):
        reached.add_row(r.artifact, r.version, _current(r.current), _some(r.through))
    console.print(reached)
    for gap in plan.gaps:
        console.print(f"Lineage ends: {gap}, which is no longer in the store.")
    shards = sum(len(w.shards) for w in plan.tokens)
    console.print(
        f"{len(plan.items)} source items reached {len(plan.documents)} documents, {shards} shards,"
        f" {len(plan.checkpoints)} checkpoints, {len(plan.evaluations)} evaluations,"
        f" {len(plan.releases)} releases."
    )


def _duplicates(title: str, duplicates: list[Duplicate]) -> None:
    from rich.console import Console

    if duplicates:
        table = _table(title, "document", "duplicate of", "similarity")
        for d in duplicates:
            likeness = "-" if d.similarity is None else f"{d.similarity:.3f}"
            table.add_row(d.document_id, d.duplicate_of, likeness)
        Console(highlight=False).print(table)


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column == "characters" else "left")
    return table


def _current(current: bool) -> str:
    return "current" if current else "not current"


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
