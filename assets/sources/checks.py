"""Blocking checks of a source: pure functions of the published artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from assets.materialize import Verdict

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store


def not_empty(store: Store, manifest: Manifest) -> Verdict:
    """At least one item is live."""
    from assets.sources.schema import items_of

    live = sum(row["status"] == "live" for row in items_of(store, manifest))
    return Verdict(live > 0, f"{live:,} live items", {"live": live})


def objects_held(store: Store, manifest: Manifest) -> Verdict:
    """The object of every live item is held, in the right size."""
    from assets.sources.schema import items_of, objects_of

    wanted = {row["sha256"]: row for row in items_of(store, manifest) if row["status"] == "live"}
    attached = {s for row in wanted.values() for s in objects_of(row)[1:]}
    sizes = store.backend.sizes([*wanted, *attached])
    missing = [row["item_id"] for sha256, row in wanted.items() if sha256 not in sizes]
    missing += [f"attachment {sha256}" for sha256 in sorted(attached - sizes.keys())]
    wrong = [
        row["item_id"] for sha256, row in wanted.items() if sha256 in sizes and sizes[sha256] != row["bytes"]
    ]
    return _verdict(f"{len(wanted):,} objects", {"not held": missing, "of another size": wrong})


def traceable(store: Store, manifest: Manifest) -> Verdict:
    """Every live item has a licence, an attribution and an address."""
    from assets.sources.schema import items_of

    fields = ("licence", "attribution", "url", "sha256")
    return _each(
        items_of(store, manifest),
        lambda row: row["status"] != "live" or all(row[name] for name in fields),
        "live items without licence, attribution or address",
    )


def gated(store: Store, manifest: Manifest) -> Verdict:
    """Only items that may train are live, and no other item has an object; each of those has a reason."""
    from assets.sources.schema import items_of

    def sound(row: dict[str, Any]) -> bool:
        if row["status"] == "live":
            return bool(row["may_mirror"] and row["may_train"])
        return row["sha256"] is None and bool(row["reason"])

    return _each(items_of(store, manifest), sound, "items against the gate")


CHECKS = {
    "not_empty": not_empty,
    "objects_held": objects_held,
    "traceable": traceable,
    "gated": gated,
}


def _each(rows: Iterable[dict[str, Any]], sound: Callable[[dict[str, Any]], bool], what: str) -> Verdict:
    bad = [row["item_id"] for row in rows if not sound(row)]
    return _verdict("every item", {what: bad})


def _verdict(passed: str, faults: dict[str, list[str]]) -> Verdict:
    found = {name: ids for name, ids in faults.items() if ids}
    if not found:
        return Verdict(True, passed)
    description = "; ".join(f"{len(ids)} {name}, first {ids[0]}" for name, ids in found.items())
    return Verdict(False, description, {name.replace(" ", "_"): len(ids) for name, ids in found.items()})
