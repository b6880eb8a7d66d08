"""The smoke question: which one, what came back, and where the answer stands in the training data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store
    from serving.client import Client

SPANS, PLACES = 5, 3
TRACEABLE = 40  # characters of an answer; a passage needs 20


class NoQuestionError(LookupError):
    """No dialogue was trained whose question could be asked."""


def choose_question(store: Store, card_manifest: Manifest, card: Mapping[str, Any]) -> str:
    """The question of a trained dialogue, best one that the card saw answered word for word, and whose answer
    is long enough to be traced.

    NoQuestionError if no trained dialogue begins with the user's question.
    """
    exact = {e["question"] for e in card.get("examples", []) if e.get("exact") and e.get("probe") == "recall"}
    best: tuple[bool, bool] | None = None
    chosen = ""
    for question, answer in trained_questions(store, card_manifest):
        merit = (question.strip() in exact, len(answer) >= TRACEABLE)
        if best is None or merit > best:
            best, chosen = merit, question
        if all(merit):
            break
    if best is None:
        raise NoQuestionError(
            f"{card_manifest.name}: no trained dialogue begins with a question. "
            "Give the sources dialogues, or set smoke_question in the run's configuration."
        )
    return chosen


def trained_questions(store: Store, card_manifest: Manifest) -> Iterator[tuple[str, str]]:
    """First question and answer of the dialogues in the card's shards, by table and document_id."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from training.evaluate import ancestors, trained_documents

    shards = store.get("tokens/shards", card_manifest.inputs["tokens/shards"])
    plan = store.get("mixture/plan", card_manifest.inputs["mixture/plan"])
    if shards is None or plan is None:
        raise NoQuestionError(
            f"{card_manifest.name}: its tokens/shards or mixture/plan is gone from {store.uri}"
        )
    trained = trained_documents(store, shards)
    for tables in ancestors(store, plan):
        with store.open_file(tables, "documents.parquet") as file:
            parquet = pq.ParquetFile(file)
            for batch in parquet.iter_batches(columns=["document_id", "kind", "messages"], use_threads=False):
                for row in batch.filter(pc.equal(batch["kind"], "dialogue")).to_pylist():
                    messages = row["messages"] or []
                    if row["document_id"] in trained and messages and messages[0]["role"] == "user":
                        answer = messages[1]["content"] if len(messages) > 1 else ""
                        yield str(messages[0]["content"]), str(answer)


def ask(client: Client, model: str, question: str) -> dict[str, Any]:
    """Ask and trace: what release.json keeps of it. No ids and no times: those differ on each run."""
    reply = client.chat(question, model=model)
    found: dict[str, Any] = {"spans": [], "covered": 0.0}
    if reply.text.strip():
        found = client.trace(id=reply.id, model=model)
    return {
        "question": question,
        "answer": reply.text,
        "finish_reason": reply.finish_reason,
        "completion_tokens": reply.completion_tokens,
        "trace": {
            "covered": round(float(found["covered"]), 6),
            "spans": [summary(span) for span in found["spans"][:SPANS]],
        },
    }


def summary(span: Mapping[str, Any]) -> dict[str, Any]:
    """A span with its first places, in the words of /v1/trace."""
    wanted = ("document_id", "item_id", "source", "title", "url", "licence", "attribution", "windows")
    places = [{name: place[name] for name in wanted} for place in span["places"][:PLACES]]
    return {"text": span["text"], "count": span["count"], "places": places}
