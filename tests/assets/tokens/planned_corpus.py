"""A store with documents of every modality and a plan over them, in the real schemas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from assets.documents.schema import DOCUMENTS, content_sha256, render_dialogue
from assets.tables import write_table
from resources.manifest import Manifest
from resources.store import Store
from tests.training.token_samples import DNA, PROTEIN, TEXTS, flac, picture, png, sound

PLAN_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("document_id", "source", "stratum", "split", "cluster")]
)


def row(
    source: str,
    number: int,
    modality: str = "text",
    text: str | None = None,
    messages: list[dict[str, str]] | None = None,
    payload: str | None = None,
) -> dict[str, Any]:
    """A row of documents.parquet."""
    item = f"{source}/item-{number:03d}"
    return {
        "document_id": f"{item}#000000",
        "item_id": item,
        "source": source,
        "kind": "dialogue" if messages else "document",
        "modality": modality,
        "domain": "biology",
        "title": f"Item {number}",
        "text": render_dialogue(messages) if messages else text,
        "messages": messages,
        "payload_sha256": payload,
        "licence": "CC-BY-4.0",
        "attribution": "LUCA contributors",
        "url": f"http://sample.luca.test/{item}",
        "raw_sha256": "0" * 64,
        "content_sha256": content_sha256(modality, text, messages, payload),
        "characters": len(text or ""),
        "quality": "{}",
    }


def dialogue(number: int, words: int = 8) -> list[dict[str, str]]:
    """A question and an answer."""
    answer = " ".join(f"word{number}-{n}" for n in range(words))
    return [{"role": "user", "content": f"What of {number}?"}, {"role": "assistant", "content": answer}]


def sources(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Rows by source; in `pictures` the last has a damaged payload, in `talks` the last is too long,
    in `genes` the last has a foreign letter."""
    pictures = [store.put_object(png(picture(n))).sha256 for n in range(3)]
    pictures.append(store.put_object(png(picture(4))[:200]).sha256)
    sounds = [store.put_object(flac(sound(n))).sha256 for n in range(2)]
    return {
        "essays": [row("essays", n, text=text * 3) for n, text in enumerate(dict.fromkeys(TEXTS))],
        "genes": [row("genes", n, "dna", letters) for n, letters in enumerate([*DNA, "ACGTXX"])],
        "proteins": [row("proteins", n, "protein", letters) for n, letters in enumerate(PROTEIN)],
        "pictures": [row("pictures", n, "image", payload=payload) for n, payload in enumerate(pictures)],
        "sounds": [row("sounds", n, "audio", payload=payload) for n, payload in enumerate(sounds)],
        "talks": [row("talks", n, messages=dialogue(n, 400 if n == 5 else 8)) for n in range(6)],
    }


def publish_plan(
    store: Store,
    heldout: Iterable[str] = ("essays/item-001#000000",),
    texts: Mapping[str, str] = MappingProxyType({}),
) -> Manifest:
    """The documents/<source> artifacts and the mixture/plan over them; `texts` replaces texts by document."""
    inputs: dict[str, str] = {}
    planned: list[Mapping[str, Any]] = []
    for source, rows in sources(store).items():
        for entry in rows:
            entry["text"] = texts.get(entry["document_id"], entry["text"])
        with store.writer(f"documents/{source}") as writer, writer.open("documents.parquet") as sink:
            write_table(sink, DOCUMENTS, rows, ["document_id"])
        inputs[writer.manifest.name] = writer.manifest.version
        for entry in rows:
            stratum = "dialogue" if entry["kind"] == "dialogue" else entry["modality"]
            name = entry["document_id"]
            planned.append(
                {
                    "document_id": name,
                    "source": source,
                    "stratum": f"{stratum}/biology",
                    "split": "heldout" if name in set(heldout) else "train",
                    "cluster": name,
                }
            )
    with store.writer("documents/unique", inputs=inputs) as writer:
        writer.add("decisions.parquet", b"not read here")
    unique = {"documents/unique": writer.manifest.version}
    with store.writer("mixture/plan", inputs=unique) as plan, plan.open("plan.parquet") as sink:
        write_table(sink, PLAN_SCHEMA, sorted(planned, key=lambda r: r["document_id"]))
    return plan.manifest
