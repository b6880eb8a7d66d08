"""A small token corpus, made with the real vocabulary, packing and shards: what training reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resources.manifest import Manifest
from resources.store import ArtifactWriter, Store
from training.shards import Layout, write_shards
from training.vocabulary import Vocabulary
from training.vocabulary_build import Corpus, Sizes, build_vocabulary, vocabulary_files
from training.windows import alone, pack

Dialogue = tuple[str, str]


def questions(count: int, seed: int = 0) -> list[Dialogue]:
    """Question and answer pairs whose answers cannot be guessed from their questions."""
    rng = np.random.default_rng(seed)
    beings = ["the moss", "a lichen", "the archaeon", "a diatom", "the cuttlefish", "an oak", "the yeast"]
    deeds = ["keeps", "loses", "mends", "copies", "reads", "folds", "splits"]
    things = ["its membrane", "a gene", "the light", "old water", "its sugar", "a signal", "the salt"]
    found = []
    for number in range(count):
        being, deed, thing = (list(rng.choice(part, 3)) for part in (beings, deeds, things))
        answer = " and ".join(" ".join(words) for words in zip(being, deed, thing, strict=True)) + "."
        found.append((f"What is fact {number}?", answer[0].upper() + answer[1:]))
    return found


def essays(count: int, seed: int = 1) -> list[str]:
    """Texts of the same words."""
    return [" ".join(answer for _, answer in questions(6, seed * 1000 + n)) for n in range(count)]


def publish_tokens(
    store: Store,
    *,
    texts: Mapping[str, Sequence[str]],
    heldout: Mapping[str, Sequence[str]],
    dialogues: Sequence[Dialogue],
    heldout_dialogues: Sequence[Dialogue] = (),
    length: int = 64,
    text_tokens: int = 400,
) -> dict[str, Manifest]:
    """Publish tokens/vocabulary, tokens/shards, tokens/heldout and mixture/plan; texts by stratum."""
    every = [t for group in (texts, heldout) for part in group.values() for t in part]
    every += [line for pair in (*dialogues, *heldout_dialogues) for line in pair]
    sizes = Sizes(text=text_tokens, dna=24, protein=64, image=4, audio=4)
    vocabulary = build_vocabulary(Corpus(text=every), sizes, image_side=16, codebook_sample=16, seed=0)
    with store.writer("tokens/vocabulary") as writer:
        for name, body in vocabulary_files(vocabulary).items():
            writer.add(name, body)
    plan = _plan(store, texts, dialogues)
    of = {"tokens/vocabulary": writer.manifest.version, "mixture/plan": plan.version}
    return {
        "tokens/vocabulary": writer.manifest,
        "mixture/plan": plan,
        "tokens/shards": _shards(store, "tokens/shards", vocabulary, texts, dialogues, length, of, "train"),
        "tokens/heldout": _shards(
            store, "tokens/heldout", vocabulary, heldout, heldout_dialogues, length, of, "held"
        ),
    }


def _plan(store: Store, texts: Mapping[str, Sequence[str]], dialogues: Sequence[Dialogue]) -> Manifest:
    rows = [{"document_id": f"d/{i}#0", "licence": "CC0-1.0"} for i in range(3)]
    with store.writer("documents/made") as documents:
        _add_table(documents, "documents.parquet", rows)
    strata = [{"stratum": name, "weight": 1.0} for name in sorted(texts)]
    strata += [{"stratum": "dialogue/biology", "weight": 1.0}] if dialogues else []
    with store.writer("mixture/plan", inputs={"documents/made": documents.manifest.version}) as writer:
        _add_table(writer, "strata.parquet", strata)
    return writer.manifest


def _shards(
    store: Store,
    name: str,
    vocabulary: Vocabulary,
    texts: Mapping[str, Sequence[str]],
    dialogues: Sequence[Dialogue],
    length: int,
    inputs: Mapping[str, str],
    prefix: str,
) -> Manifest:
    pad, end = vocabulary.control["<|pad|>"], vocabulary.control["<|end_of_document|>"]
    windows: list[tuple[str, Any]] = []
    documents = []
    for stratum in sorted(texts):
        encoded = [
            (f"{prefix}/{stratum}/{i}#0", [*vocabulary.encode_text(text), end])
            for i, text in enumerate(texts[stratum])
        ]
        documents += [{"document_id": d, "stratum": stratum, "tokens": len(ids)} for d, ids in encoded]
        windows += [(stratum, window) for window in pack(encoded, length, length // 8, pad=pad)]
    for i, (question, answer) in enumerate(dialogues):
        ids = vocabulary.encode_messages(
            [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        )
        document = f"{prefix}/dialogue/{i}#0"
        window = alone(document, ids, length, pad=pad)
        if window is not None:
            documents.append({"document_id": document, "stratum": "dialogue/biology", "tokens": len(ids)})
            windows.append(("dialogue/biology", window))
    with store.writer(name, inputs=inputs) as writer:
        layout = Layout(length, np.dtype(vocabulary.dtype), 1 << 16)
        count = write_shards(writer, iter(windows), layout)
        facts = {"length": length, "dtype": np.dtype(vocabulary.dtype).name, "windows": count}
        writer.add("strata.json", json.dumps(facts).encode())
        _add_table(writer, "documents.parquet", documents)
    return writer.manifest


def _add_table(writer: ArtifactWriter, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    with writer.open(name) as sink:
        pq.write_table(pa.Table.from_pylist(list(rows)), sink)
