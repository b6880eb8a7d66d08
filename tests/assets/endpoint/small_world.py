"""A store with everything that a release is made of, by the real builders; a model too, on request."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resources.manifest import Manifest
from resources.store import Store
from training.shards import Layout, ShardReader, write_shards
from training.trace_build import build_trace_index
from training.vocabulary import Vocabulary
from training.vocabulary_build import Corpus, Sizes, build_vocabulary, vocabulary_files
from training.windows import alone

RECIPE = "small"
DIALOGUES = [
    ("What is life made of?", "Life is made of cells, and cells are made of molecules that copy themselves."),
    ("How did life begin?", "Life began in water, and RNA came before DNA."),
    ("Is a virus alive?", "A virus copies itself only inside a cell, so many say that it is not alive."),
]
RECIPE_YAML = f"""
name: {RECIPE}
seed: 1
model: {{hidden_size: 64, layers: 2, heads: 2, kv_heads: 2, intermediate_size: 128, max_positions: 256}}
pretrain: {{steps: 1, micro_batch: 1, learning_rate: 0.001}}
instruct: {{epochs: 1, micro_batch: 1, learning_rate: 0.001}}
gate: {{max_perplexity_ratio: 0.9, min_probe_accuracy: 0.5}}
serve: {{alias: luca-small, max_model_len: 128, max_tokens: 64, dtype: float32}}
"""


def write_recipe(folder: Path, text: str = RECIPE_YAML) -> None:
    """The recipe file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{RECIPE}.yaml").write_text(text)


def parquet(rows: list[dict[str, Any]], schema: pa.Schema | None = None) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def documents() -> list[dict[str, Any]]:
    """Rows of documents/talks, as far as a release reads them."""
    return [
        {
            "document_id": f"talks/{i}#0",
            "item_id": f"talks/{i}",
            "source": "talks",
            "kind": "dialogue",
            "modality": "text",
            "domain": "biology",
            "title": question,
            "text": f"user: {question}\nassistant: {answer}",
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
            "url": f"http://sample.luca.test/talks/{i}",
            "licence": "CC0-1.0",
            "attribution": "LUCA",
        }
        for i, (question, answer) in enumerate(DIALOGUES)
    ]


def publish(store: Store, name: str, files: dict[str, bytes], inputs: Iterable[Manifest] = ()) -> Manifest:
    with store.writer(name, inputs={m.name: m.version for m in inputs}) as writer:
        for file, data in files.items():
            writer.add(file, data)
    return writer.manifest


def publish_world(store: Store) -> dict[str, Manifest]:
    """documents/talks, mixture/plan, tokens/vocabulary, tokens/shards, tokens/trace_index."""
    rows = documents()
    talks = publish(store, "documents/talks", {"documents.parquet": parquet(rows)})
    plan_rows = [{"document_id": r["document_id"], "split": "train"} for r in rows]
    plan = publish(store, "mixture/plan", {"plan.parquet": parquet(plan_rows)}, [talks])
    sizes = Sizes(text=400, dna=24, protein=64, image=4, audio=4)
    corpus = Corpus(text=[r["text"] for r in rows])
    vocabulary = build_vocabulary(corpus, sizes, image_side=16, codebook_sample=16, seed=0)
    vocabulary_manifest = publish(store, "tokens/vocabulary", dict(vocabulary_files(vocabulary)), [plan])
    pad = vocabulary.control["<|pad|>"]
    windows = [
        ("dialogue/biology", alone(r["document_id"], vocabulary.encode_messages(r["messages"]), 128, pad=pad))
        for r in rows
    ]
    with store.writer("tokens/shards", inputs={plan.name: plan.version}) as writer:
        layout = Layout(128, np.dtype(vocabulary.dtype), 1 << 16)
        write_shards(writer, iter([(s, w) for s, w in windows if w is not None]), layout)
        counted = [
            {"document_id": r["document_id"], "stratum": "dialogue/biology", "tokens": 1} for r in rows
        ]
        writer.add("documents.parquet", parquet(counted))
        facts = {"length": 128, "dtype": np.dtype(vocabulary.dtype).name, "windows": len(rows)}
        writer.add("strata.json", json.dumps(facts).encode())
    shards = writer.manifest
    inputs = {m.name: m.version for m in (plan, vocabulary_manifest, shards)}
    with store.writer("tokens/trace_index", inputs=inputs) as index:
        build_trace_index(index, rows, vocabulary, ShardReader(store, shards))
    return {m.name: m for m in (talks, plan, vocabulary_manifest, shards, index.manifest)}


def publish_checkpoint(store: Store, world: dict[str, Manifest], files: dict[str, bytes]) -> Manifest:
    """checkpoints/instructed/small."""
    return publish(store, f"checkpoints/instructed/{RECIPE}", files, [world["tokens/vocabulary"]])


def publish_card(
    store: Store,
    world: dict[str, Manifest],
    checkpoint: Manifest,
    *,
    accuracy: float = 1.0,
    limit: float = 0.5,
) -> Manifest:
    """evaluations/card/small, in the shape that training/evaluate.py writes."""
    question, answer = DIALOGUES[1]
    card = {
        "examples": [{"probe": "recall", "question": question, "expected": answer, "exact": True}],
        "thresholds": [
            {"name": "max_perplexity_ratio", "value": 0.1, "comparison": "<=", "limit": 0.9, "passed": True},
            {
                "name": "min_probe_accuracy",
                "value": accuracy,
                "comparison": ">=",
                "limit": limit,
                "passed": accuracy >= limit,
            },
        ],
    }
    inputs = [checkpoint, *(world[n] for n in ("tokens/vocabulary", "tokens/shards", "mixture/plan"))]
    return publish(store, f"evaluations/card/{RECIPE}", {"card.json": json.dumps(card).encode()}, inputs)


def trained_model(
    store: Store, vocabulary_manifest: Manifest, dialogues: Sequence[tuple[str, str]]
) -> dict[str, bytes]:
    """Files of a small Llama that knows the dialogues by heart (some 20 CPU-seconds)."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    vocabulary = Vocabulary.from_store(store, vocabulary_manifest)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary.size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        eos_token_id=vocabulary.control["<|end_of_turn|>"],
        pad_token_id=vocabulary.control["<|pad|>"],
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batches = [
        torch.tensor(
            [
                vocabulary.encode_messages(
                    [{"role": "user", "content": q}, {"role": "assistant", "content": a}]
                )
            ]
        )
        for q, a in dialogues
    ]
    for _ in range(80):
        for ids in batches:
            loss = model(input_ids=ids, labels=ids).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert float(loss.detach()) < 0.2
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        files = {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    for name in ("tokenizer.json", "tokenizer_config.json"):
        files[name] = store.read_file(vocabulary_manifest, name)
    return files
