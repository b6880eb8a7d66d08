"""`luca ask "question"`: ask the served model through the gateway; the answer comes with its trace."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from resources.settings import Settings

if TYPE_CHECKING:
    from serving.client import Client


@dataclass(frozen=True)
class Answer:
    """An answer of the served model, and where its passages stand (/v1/trace)."""

    id: str
    text: str
    release: str
    model: str
    finish_reason: str
    trace: dict[str, Any]


def gateway_client(settings: Settings) -> Client:
    """A client of the running gateway; click.ClickException when nothing is served, GatewayError."""
    from resources.launcher import LocalLauncher
    from serving.deploy import local_client, serving_folder

    client = local_client(LocalLauncher(settings.jobs), serving_folder(settings.home))
    if client is None:
        raise click.ClickException("nothing is served. Materialize endpoint/release, or run `make demo`.")
    return client


def ask_gateway(settings: Settings, question: str, model: str | None = None) -> Answer:
    """Ask and trace over HTTP, as any client would; click.ClickException when nothing answers."""
    from serving.client import GatewayError

    try:
        client = gateway_client(settings)
        reply = client.chat(question, model)
        found = client.trace(id=reply.id, model=reply.model)
    except GatewayError as error:
        raise click.ClickException(str(error)) from None
    return Answer(reply.id, reply.text, reply.release, reply.model, reply.finish_reason, found)


@click.command()
@click.argument("question")
@click.option("--model", help="Alias of the model, where several are served.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def ask(question: str, model: str | None, as_json: bool) -> None:
    """Ask the served model QUESTION; print the answer, its id, and where its passages come from."""
    answer = ask_gateway(Settings.from_environment(), question, model)
    if as_json:
        click.echo(json.dumps(asdict(answer), ensure_ascii=False, indent=1))
        return
    click.echo(answer.text)
    click.echo(f"\nid {answer.id}\nmodel {answer.model}, {answer.release}, ended by {answer.finish_reason}")
    if not answer.trace["spans"]:
        click.echo("No passage of 20 characters or more stands verbatim in what it learned.")
    for span in answer.trace["spans"]:
        click.echo(f"\n“{span['text'].strip()}” ({span['count']} times)")
        for place in span["places"]:
            windows = ", ".join(f"{w['window']} in {w['shard']}" for w in place["windows"])
            click.echo(f"  {place['document_id']}: {place['title'] or 'untitled'}")
            click.echo(f"    item {place['item_id']}, {place['licence']}, {place['url']}")
            click.echo(f"    windows {windows or 'none'}")
