"""What the demo ends with: the artifacts, an answer and its trace, the card, how to go on."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from orchestration.progress import size
from resources.manifest import Manifest
from resources.settings import PROJECT, Settings
from resources.store import Store


def print_closing(settings: Settings, recipe: str, option: str, seconds: float) -> None:
    """Print it all; click.ClickException when the answer or its trace is missing."""
    store = Store.open(settings.store)
    console = Console(width=110, highlight=False)
    console.print(artifact_table(store))
    release = store.head(f"endpoint/release/{recipe}")
    if release is None:
        raise click.ClickException(f"endpoint/release/{recipe} is not in {store.uri}")
    question = json.loads(store.read_file(release, "release.json"))["smoke"]["question"]
    print_answer(console, settings, store, question)
    card = store.head(f"evaluations/card/{recipe}")
    if card is not None:
        console.print(f"\nThe evaluation card   {shown_path(settings, card, 'card.html')}")
    plan = store.head("mixture/plan")
    if plan is not None:
        console.print(f"The mixture's README  {shown_path(settings, plan, 'README.md')}")
    console.print(f"Open the UI           make ui{option}")
    console.print(f"Stop the served model make down{option}")
    console.print(f"Done in {seconds:.0f} s.")


def artifact_table(store: Store) -> Table:
    """Name, version, size and the seconds that its building took, for every current artifact."""
    table = Table(title="Artifacts", title_justify="left", pad_edge=False)
    for column, justify in (("name", "left"), ("version", "left"), ("size", "right"), ("built in", "right")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for name in store.names():
        manifest = None if name.endswith("/partial") else store.head(name)
        if manifest is None:
            continue
        seconds = manifest.figures.get("seconds")
        built = f"{seconds:.1f} s" if isinstance(seconds, (int, float)) else ""
        table.add_row(name, manifest.version, size(manifest.bytes), built)
    return table


def print_answer(console: Console, settings: Settings, store: Store, question: str) -> None:
    """Ask the served model over HTTP, then trace its answer by id, as any client would."""
    from orchestration.commands.ask import ask_gateway
    from training.trace import trace

    answer = ask_gateway(settings, question)
    console.print("\nA small model that has learned a small collection by heart, asked over HTTP:")
    console.print(f"  Q  {question}")
    console.print(f"  A  {answer.text}", style="bold")
    console.print(f"  id {answer.id}, release {answer.release}")
    spans = answer.trace["spans"]
    words = "Where the answer's longest passages stand in the training data:"
    if not spans:
        # Too short an answer, or words of the model's own: the question was trained on, at least.
        spans = trace(store, question).to_dict()["spans"]
        words = "The answer has no passage of 20 characters in the training data; the question has:"
    if not spans:
        raise click.ClickException("neither the answer nor its question can be traced to the training data")
    console.print(words)
    for span in spans[:3]:
        console.print(f"  “{shorten(span['text'], 90)}”")
        for place in span["places"][:2]:
            windows = ", ".join(f"{w['window']} in {w['shard']}" for w in place["windows"][:2])
            console.print(f"     document {place['document_id']}, window {windows or 'none'}")
            console.print(f"     item {place['item_id']}, {place['licence']}, {place['url']}")


def shorten(text: str, width: int) -> str:
    """One line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1] + "…"


def shown_path(settings: Settings, manifest: Manifest, file: str) -> str:
    """Where a person opens the file: a path beside the manifest on a disk, the store's URI elsewhere."""
    if not manifest.uri.startswith("file://"):
        return f"{manifest.uri} (luca store show {manifest.name})"
    path = Path(manifest.uri.removeprefix("file://")) / file
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)
