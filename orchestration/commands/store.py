"""`luca store`: look at the store, read it back, clean it.

Exit codes: 0 all is well; 1 something is missing, damaged or unknown; 2 wrong usage.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from resources.settings import Settings

if TYPE_CHECKING:
    from resources.store import Manifest, Store

UNITS = ("B", "kB", "MB", "GB", "TB")


def size(count: int) -> str:
    """Bytes for people: `12.3 MB`."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {UNITS[unit]}"


def with_store(command: Callable[..., None]) -> Callable[..., None]:
    """Give the command an open store as its first argument; what the store says is wrong ends it with 1."""

    @click.option("--store", "uri", default=None, help="Store URI (default: LUCA_STORE).")
    @functools.wraps(command)
    def run(uri: str | None, **options: Any) -> None:
        from resources.store import Store, StoreError

        try:
            command(Store.open(uri or Settings.from_environment().store), **options)
        except (StoreError, ValueError) as error:
            raise click.ClickException(str(error)) from error

    return run


@click.group()
def store() -> None:
    """List, show, verify and clean the store."""


@store.command()
@click.argument("prefix", default="")
@click.option("--versions", "all_versions", is_flag=True, help="Every version, not only the current ones.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON lines.")
@with_store
def ls(store: Store, prefix: str, all_versions: bool, as_json: bool) -> None:
    """List artifacts whose name starts with PREFIX: version, files, bytes, when published."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    # Narrow enough for 80 columns: nothing is cut off.
    table = Table(title=store.uri, title_justify="left", title_style="dim", box=SIMPLE, padding=(0, 1, 0, 0))
    for column in ("artifact", "version", "state", "files", "bytes", "published (UTC)"):
        right = column in ("files", "bytes")
        folds = column in ("artifact", "state")
        table.add_column(column, justify="right" if right else "left", no_wrap=not folds, overflow="fold")
    count = 0
    for name in store.names(prefix):
        head = store.head(name)
        # Without a HEAD nothing has passed its checks: then every version is shown.
        for version in [head.version] if head and not all_versions else store.versions(name):
            manifest = store.get(name, version)
            if manifest is None:
                continue
            count += 1
            if as_json:
                click.echo(json.dumps(json.loads(manifest.to_json()), sort_keys=True, ensure_ascii=False))
            row = (name, version, mark(store, manifest), f"{len(manifest.files)}", size(manifest.bytes))
            table.add_row(*row, manifest.published_at[:16].replace("T", " "))
    if not as_json:
        console = Console(highlight=False)
        console.print(
            table if count else f"No artifacts{f' under {prefix}' if prefix else ''} in {store.uri}."
        )


@store.command()
@click.argument("artifact")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as it is stored.")
@with_store
def show(store: Store, artifact: str, as_json: bool) -> None:
    """Show ARTIFACT (a name, or name@version): its files, what it was built from, by what, and when."""
    manifest = find(store, artifact)
    if as_json:
        click.echo(manifest.to_json().decode(), nl=False)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    facts = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts.add_row("artifact", manifest.name)
    facts.add_row("version", f"{manifest.version} ({mark(store, manifest)})")
    facts.add_row("key", manifest.key)
    facts.add_row("published", f"{manifest.published_at[:19].replace('T', ' ')} UTC")
    facts.add_row("where", manifest.uri)
    facts.add_row("bytes", f"{manifest.bytes:,} in {len(manifest.files)} files")
    facts.add_row("code version", manifest.code_version or "-")
    for label, values in (("built from", manifest.inputs), ("parameters", manifest.parameters)):
        for i, (key, value) in enumerate(sorted(values.items())):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            facts.add_row(label if i == 0 else "", f"{key}: {text}")
    for label, values in (("figures", manifest.figures), ("run", manifest.run)):
        for i, (key, value) in enumerate(sorted(values.items())):
            facts.add_row(label if i == 0 else "", f"{key}: {json.dumps(value, ensure_ascii=False)}")
    console.print(facts)
    files = Table()
    for column in ("file", "bytes", "SHA-256", ""):
        files.add_column(column, justify="right" if column == "bytes" else "left", overflow="fold")
    for entry in manifest.files[:200]:
        files.add_row(entry.name, f"{entry.bytes:,}", entry.sha256[:16], "volatile" if entry.volatile else "")
    console.print(files)
    if len(manifest.files) > 200:
        console.print(f"… and {len(manifest.files) - 200} more: --json lists all")


@store.command()
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="Names, sizes and manifests only: do not read the bytes.")
@click.option(
    "--discard", is_flag=True, help="Remove damaged objects, so that the next run stores them whole."
)
@with_store
def verify(store: Store, names: tuple[str, ...], quick: bool, discard: bool) -> None:
    """Read back the artifacts NAMES (all, and every object, if none is given). Ends with 1 on a problem."""
    from rich.console import Console
    from rich.table import Table

    from resources.store_upkeep import discard_damaged

    console = Console(highlight=False)
    with progress("reading back") as on_progress:
        report = store.verify(names or None, deep=not quick, on_progress=on_progress)
    if report.problems:
        table = Table(title="Problems", title_justify="left")
        for column in ("kind", "what", "detail", "mend"):
            table.add_column(column, overflow="fold")
        for problem in report.problems:
            table.add_row(problem.kind, problem.subject, problem.detail, problem.mend)
        console.print(table)
    read = "looked at" if quick else "read back"
    console.print(
        f"{report.artifacts} artifacts, {report.objects} objects, {size(report.bytes)} {read}:"
        f" {len(report.problems) or 'no'} problem{'' if len(report.problems) == 1 else 's'}"
    )
    if discard:
        for sha256 in discard_damaged(store, report):
            console.print(f"removed damaged object {sha256}")
    if report.problems:
        sys.exit(1)


@store.command()
@click.option(
    "--keep", type=click.IntRange(min=1), help="Also remove superseded versions but the newest KEEP."
)
@click.option("--grace", default=3600.0, show_default=True, help="Seconds; what is younger stays.")
@click.option("--dry-run", is_flag=True, help="Remove nothing; say what would be removed.")
@with_store
def gc(store: Store, keep: int | None, grace: float, dry_run: bool) -> None:
    """Remove objects that no artifact needs, and what killed writers left.

    With --keep also superseded versions, except those that a kept one was built from.
    """
    if grace < 0:
        raise click.BadParameter("must not be negative", param_hint="--grace")
    report = store.gc(keep=keep, grace_seconds=grace, dry_run=dry_run)
    verb = "would remove" if dry_run else "removed"
    for version in report.versions:
        click.echo(f"{verb} {version}")
    click.echo(
        f"{verb} {len(report.versions)} versions, {report.objects} objects ({size(report.bytes)}),"
        f" {report.leftovers} leftovers of killed writers"
    )
    click.echo(
        f"kept {report.kept_objects} objects ({size(report.kept_bytes)}), {report.too_young} too young;"
        f" {report.writers} writers at work"
    )


def mark(store: Store, manifest: Manifest) -> str:
    """`current`, `held (checks)` or `not current`."""
    held = store.held(manifest.name)
    if held is not None and held["version"] == manifest.version:
        return f"held: {', '.join(held['checks'])}"
    return (
        "current" if store.pointer(f"artifacts/{manifest.name}/HEAD") == manifest.version else "not current"
    )


def find(store: Store, artifact: str) -> Manifest:
    """The manifest of `name` (its HEAD) or `name@version`; raises ValueError that lists what there is."""
    name, _, version = artifact.partition("@")
    manifest = store.get(name, version) if version else store.head(name)
    if manifest is None:
        known = store.versions(name) if name in store.names(name) else store.names()
        raise ValueError(f"{store.uri} has no {artifact}; it has: {', '.join(known) or 'nothing yet'}")
    return manifest


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar of bytes on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (label, BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
