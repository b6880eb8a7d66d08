"""`luca trace TEXT`: the documents, items and licences in which a text stands."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from resources.settings import Settings

if TYPE_CHECKING:
    from training.trace import Trace


@click.command()
@click.argument("text")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--least", default=20, show_default=True, help="Characters of the shortest passage.")
@click.option("--store", "uri", default=None, help="Store URI (default: LUCA_STORE).")
def trace(text: str, as_json: bool, least: int, uri: str | None) -> None:
    """Name the windows, documents, source items, URLs and licences in which the longest verbatim
    passages of TEXT stand ("-" reads it from standard input). Ends with 1 if there are none."""
    from resources.store import Store
    from training.trace import NoTraceIndex
    from training.trace import trace as search

    content = sys.stdin.read() if text == "-" else text
    if least < 1:
        raise click.BadParameter("must be at least 1", param_hint="--least")
    try:
        found = search(Store.open(uri or Settings.from_environment().store), content, least=least)
    except NoTraceIndex as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=1))
    else:
        show(found)
    if not found.spans:
        sys.exit(1)


def show(found: Trace) -> None:
    """A block a passage, for people."""
    if not found.spans:
        click.echo("No passage of this text stands verbatim in what was trained on.")
        return
    versions = f"trace index {found.trace_index}, shards {found.shards}"
    click.echo(f"{found.covered:.0%} of the text stands verbatim in the training text ({versions}).")
    if found.truncated:
        click.echo("The text is long: only its beginning was looked up.")
    for span in found.spans:
        click.echo()
        click.secho(f"“{span.text}”", bold=True)
        click.echo(
            f"{len(span.text)} characters, found {'once' if span.count == 1 else f'{span.count:,} times'}:"
        )
        for place in span.places:
            facts = (place.document_id, place.title, place.licence, place.attribution)
            click.echo("  " + " · ".join(fact for fact in facts if fact))
            click.echo(f"    {place.url or 'no address'}")
            windows = [f"{w.window} ({w.shard})" for w in place.windows]
            click.echo(f"    window{'s' if len(windows) > 1 else ''} {', '.join(windows)}")
