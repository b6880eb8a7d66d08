"""The gateway's links to the store: vocabularies and traces. Both block, and run in threads."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from serving.config import Route

if TYPE_CHECKING:
    from resources.store import Store
    from training.vocabulary import Vocabulary


@lru_cache(maxsize=4)
def open_store(uri: str) -> Store:
    """The store of a route; the client is kept."""
    from resources.store import Store

    return Store.open(uri)


def load_vocabulary(route: Route) -> Vocabulary:
    """The vocabulary that the route's model was trained with; ValueError if it is not in the store."""
    from training.vocabulary import Vocabulary

    store = open_store(route.store)
    version = route.inputs.get("tokens/vocabulary", "")
    manifest = store.get("tokens/vocabulary", version)
    if manifest is None:
        raise ValueError(f"tokens/vocabulary {version or '(no version)'} is not in {store.uri}")
    vocabulary = Vocabulary.from_store(store, manifest)
    # Builds the encoder now, in this thread, instead of on the first request.
    vocabulary.encode_text("ready")
    return vocabulary


def trace_text(route: Route, text: str) -> dict[str, Any]:
    """Where `text` stands in what the route's model was trained on."""
    from serving.tracing import trace_route

    return trace_route(open_store(route.store), route, text)
