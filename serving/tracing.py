"""Traces for the gateway: the trace index of the release that answered, not whichever is newest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serving.config import Route
from serving.errors import not_found

if TYPE_CHECKING:
    from resources.store import Store

ARTIFACT = "tokens/trace_index"


def trace_route(store: Store, route: Route, text: str) -> dict[str, Any]:
    """Where `text` stands in what the route's model learned (training/trace.py's Trace, as plain JSON).

    ApiError 404 if the release has no trace index, or its index is gone from the store.
    """
    from training.trace import trace

    version = route.inputs.get(ARTIFACT, "")
    manifest = store.get(ARTIFACT, version) if version else None
    if manifest is None:
        raise not_found(f"{route.release} has no {ARTIFACT} in the store.", "no_trace_index")
    return trace(store, text, manifest=manifest).to_dict()
