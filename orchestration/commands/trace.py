"""`luca trace TEXT`: the documents, items and licences in which a text, or an answer, stands."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

import click

from resources.settings import Settings

ANSWER_ID = re.compile(r"chatcmpl-[0-9a-f]{24}")


@click.command()
@click.argument("text")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--least", default=20, show_default=True, help="Characters of the shortest passage.")
@click.option("--store", "uri", default=None, help="Store URI (default: LUCA_STORE).")
def trace(text: str, as_json: bool, least: int, uri: str | None) -> None:
    """Name the windows, documents, source items, URLs and licences in which the longest verbatim
    passages of TEXT stand ("-" reads it from standard input). The id of an answer that `luca ask` printed
    stands for that answer: the gateway traces it in what its release learned. Ends with 1 if there are
    none."""
    if least < 1:
        raise click.BadParameter("must be at least 1", param_hint="--least")
    content = sys.stdin.read() if text == "-" else text
    answer = ANSWER_ID.fullmatch(content.strip())
    found = trace_answer(answer.group()) if answer else trace_text(content, least, uri)
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=1))
    else:
        show(found)
    if not found["spans"]:
        sys.exit(1)


def trace_text(text: str, least: int, uri: str | None) -> dict[str, Any]:
    """Any text, in the store's current trace index; click.ClickException if there is none."""
    from resources.store import Store
    from training.trace import NoTraceIndex
    from training.trace import trace as search

    try:
        return search(Store.open(uri or Settings.from_environment().store), text, least=least).to_dict()
    except NoTraceIndex as error:
        raise click.ClickException(str(error)) from error


def trace_answer(answer_id: str) -> dict[str, Any]:
    """An answer that the gateway gave to this machine's own key; click.ClickException if it knows none."""
    from orchestration.commands.ask import gateway_client
    from serving.client import GatewayError

    try:
        return gateway_client(Settings.from_environment()).trace(id=answer_id)
    except GatewayError as error:
        raise click.ClickException(str(error)) from None


def show(found: Mapping[str, Any]) -> None:
    """A block a passage, for people."""
    if not found["spans"]:
        click.echo("No passage of this text stands verbatim in what was trained on.")
        return
    versions = f"trace index {found['trace_index']}, shards {found['shards']}"
    click.echo(f"{found['covered']:.0%} of the text stands verbatim in the training text ({versions}).")
    if found["truncated"]:
        click.echo("The text is long: only its beginning was looked up.")
    for span in found["spans"]:
        click.echo()
        click.secho(f"“{span['text']}”", bold=True)
        times = "once" if span["count"] == 1 else f"{span['count']:,} times"
        click.echo(f"{len(span['text'])} characters, found {times}:")
        for place in span["places"]:
            facts = (place[name] for name in ("document_id", "title", "licence", "attribution"))
            click.echo("  " + " · ".join(fact for fact in facts if fact))
            click.echo(f"    {place['url'] or 'no address'}")
            windows = [f"{w['window']} ({w['shard']})" for w in place["windows"]]
            click.echo(f"    window{'s' if len(windows) > 1 else ''} {', '.join(windows)}")
