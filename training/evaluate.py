"""Evaluation of a recipe's two checkpoints: `python -m training.evaluate JOBDIR`.

Held-out perplexity per stratum and three probes, before (pretrained) and after (instructed), thresholds,
and the card that says so to people. Publishes `evaluations/card/<recipe>`: card.json, card.md, card.html.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training.job import JobError, JobSpec, Progress

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from resources.manifest import Manifest
    from resources.store import Store

STAGES = ("pretrained", "instructed")
EXAMPLES = 8


def evaluate(spec: JobSpec, store: Store) -> dict[str, Any]:
    """Everything on the card, as plain JSON values. Raises JobError if nothing is held out."""
    from training.batches import WindowTable
    from training.perplexity import heldout_sample
    from training.probes import clozes, questions
    from training.shards import ShardReader
    from training.vocabulary import Vocabulary

    section, gate, seed = spec.parameters["evaluate"], spec.parameters["gate"], spec.parameters["seed"]
    checkpoints = {stage: spec.input(store, f"checkpoints/{stage}") for stage in STAGES}
    shards, heldout = spec.input(store, "tokens/shards"), spec.input(store, "tokens/heldout")
    vocabulary = Vocabulary.from_store(store, spec.input(store, "tokens/vocabulary"))
    table = WindowTable.read(store, heldout)
    sample = heldout_sample(table, section["windows_per_stratum"], seed)
    if not any(name.split("/")[0] != "dialogue" for name, windows in sample.items() if windows):
        raise JobError(
            f"{heldout.name} {heldout.version}: no held-out document; "
            "give the sources more items, or the mixture's split a larger held-out share"
        )
    readers = {"trained": ShardReader(store, shards), "heldout": ShardReader(store, heldout)}
    learned = json.loads(store.read_file(checkpoints["instructed"], "dialogues.json"))
    room = section["max_new_tokens"]
    asked = {
        "recall": questions(
            readers["trained"], spread(learned["windows"], section["probes"], seed), vocabulary.control, room
        ),
        "heldout_dialogues": questions(
            readers["heldout"],
            [w for name, windows in sample.items() if name.startswith("dialogue/") for w in windows][
                : section["probes"]
            ],
            vocabulary.control,
            room,
        ),
    }
    gaps = clozes(readers["heldout"], table, sample, section["probes"], seed)

    progress = Progress(spec.folder)
    work = len(STAGES) * (sum(map(len, sample.values())) + sum(map(len, asked.values())))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress("evaluating", done, work, "windows and questions")

    results = {}
    answers: dict[str, Any] = {}
    for stage, manifest in checkpoints.items():
        model = open_model(store, manifest, spec.folder / stage)
        results[stage], answers[stage] = _measure(
            model, readers["heldout"], sample, asked, gaps, vocabulary, section, seed, advance
        )
    card: dict[str, Any] = {
        "recipe": spec.parameters["name"],
        "model": _model_facts(store, checkpoints["instructed"]),
        "checkpoints": {stage: _training_facts(store, m) for stage, m in checkpoints.items()},
        "perplexity": {stage: r.pop("perplexity") for stage, r in results.items()},
        "probes": {name: {stage: results[stage][name] for stage in STAGES} for name in results["instructed"]},
        "examples": _examples(asked, answers, vocabulary),
        "heldout": heldout_proof(store, shards, heldout, table.documents),
        "data": data_facts(store, spec.input(store, "mixture/plan"), shards),
        "learned_dialogues": len(learned["windows"]),
    }
    card["thresholds"] = thresholds(card, gate, vocabulary.size)
    card["passed"] = all(t["passed"] for t in card["thresholds"])
    return card


def open_model(store: Store, manifest: Manifest, folder: Path) -> LlamaForCausalLM:
    """A checkpoint's model in float32, for evaluation."""
    from training.model import load_model

    model = load_model(store.checkout(manifest, folder, only=["*config.json", "model.safetensors"]))
    model.train(False)
    return model


def _measure(
    model: LlamaForCausalLM,
    reader: Any,
    sample: Mapping[str, Sequence[int]],
    asked: Mapping[str, Any],
    gaps: Sequence[Any],
    vocabulary: Any,
    section: Mapping[str, Any],
    seed: int,
    advance: Any,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One checkpoint's figures, and its answers by probe."""
    from training.perplexity import heldout_figures, window_losses
    from training.probes import answer_figures, cloze_figures, greedy_answers

    pad, draws, batch = vocabulary.control["<|pad|>"], section["bootstrap"], section["batch"]
    rows = {
        stratum: window_losses(model, reader, windows, pad, vocabulary.text_bytes, batch, advance)
        for stratum, windows in sample.items()
    }
    figures: dict[str, Any] = {"perplexity": heldout_figures(rows, vocabulary.size, draws, seed)}
    answers = {}
    for probe, questions in asked.items():
        answers[probe] = greedy_answers(
            model, questions, vocabulary.control, section["max_new_tokens"], batch, advance
        )
        figures[probe] = answer_figures(questions, answers[probe], draws, seed)
    figures["cloze"] = cloze_figures(model, gaps, draws, seed)
    return figures, answers


def spread(items: Sequence[int], count: int, seed: int) -> list[int]:
    """At most `count` of the items, drawn from the seed, sorted."""
    import numpy as np

    order = np.random.default_rng([seed, len(items)]).permutation(len(items))[:count]
    return sorted(int(items[int(i)]) for i in order)


def thresholds(
    card: Mapping[str, Any], gate: Mapping[str, Any], vocabulary_size: int
) -> list[dict[str, Any]]:
    """The gate's limits beside what was measured; a figure that is missing does not pass.

    Perplexity is judged before fine-tuning: learning dialogues by heart makes a small model sure of itself on
    everything else, which the card shows and says.
    """
    ratio = card["perplexity"]["pretrained"][-1]["perplexity"] / vocabulary_size
    exact = card["probes"]["recall"]["instructed"]["exact"]
    return [
        {
            "name": "max_perplexity_ratio",
            "description": "held-out perplexity of the pretrained model, over a uniform guess's",
            "value": round(ratio, 6) if math.isfinite(ratio) else None,
            "comparison": "<=",
            "limit": gate["max_perplexity_ratio"],
            "passed": math.isfinite(ratio) and ratio <= gate["max_perplexity_ratio"],
        },
        {
            "name": "min_probe_accuracy",
            "description": "trained dialogues whose answer comes back token for token",
            "value": exact,
            "comparison": ">=",
            "limit": gate["min_probe_accuracy"],
            "passed": exact is not None and exact >= gate["min_probe_accuracy"],
        },
    ]


def heldout_proof(
    store: Store, shards: Manifest, heldout: Manifest, documents: Sequence[Sequence[str]]
) -> dict[str, Any]:
    """The documents that the figures were computed on, and how many of them stand in a training shard."""
    scored = sorted({document for window in documents for document in window})
    trained = trained_documents(store, shards)
    return {
        "version": heldout.version,
        "shards_version": shards.version,
        "documents": len(scored),
        "trained_documents": len(trained),
        "in_shards": sum(document in trained for document in scored),
    }


def trained_documents(store: Store, shards: Manifest) -> set[str]:
    """Ids of every document that stands in a shard."""
    import pyarrow.parquet as pq

    with store.open_file(shards, "documents.parquet") as file:
        table = pq.read_table(file, columns=["document_id"], use_threads=False, pre_buffer=False)
    return set(table["document_id"].to_pylist())


def data_facts(store: Store, plan: Manifest, shards: Manifest) -> dict[str, Any]:
    """Documents and tokens by stratum, and documents by licence, of what was trained on."""
    import pyarrow.parquet as pq

    with store.open_file(shards, "documents.parquet") as file:
        table = pq.read_table(
            file, columns=["document_id", "stratum", "tokens"], use_threads=False, pre_buffer=False
        )
    trained = set(table["document_id"].to_pylist())
    documents: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for stratum, count in zip(table["stratum"].to_pylist(), table["tokens"].to_pylist(), strict=True):
        documents[stratum] += 1
        tokens[stratum] += count
    licences: Counter[str] = Counter()
    for tables in ancestors(store, plan):
        with store.open_file(tables, "documents.parquet") as file:
            for batch in pq.ParquetFile(file).iter_batches(
                columns=["document_id", "licence"], use_threads=False
            ):
                columns = batch.to_pydict()
                for document, licence in zip(columns["document_id"], columns["licence"], strict=True):
                    if document in trained:
                        licences[licence or "not stated"] += 1
    return {
        "strata": [{"stratum": s, "documents": documents[s], "tokens": tokens[s]} for s in sorted(documents)],
        "licences": dict(sorted(licences.items())),
    }


def ancestors(store: Store, manifest: Manifest) -> Iterator[Manifest]:
    """The document tables that an artifact was made from, through its inputs, each once, by name."""
    seen: dict[str, Manifest] = {}
    waiting = [manifest]
    while waiting:
        for name, version in sorted(waiting.pop().inputs.items()):
            found = None if name in seen else store.get(name, version)
            if found is not None and not name.startswith("sources/"):
                seen[name] = found
                waiting.append(found)
    for name in sorted(seen):
        if name.startswith("documents/") and any(f.name == "documents.parquet" for f in seen[name].files):
            yield seen[name]


def _model_facts(store: Store, manifest: Manifest) -> dict[str, Any]:
    config = json.loads(store.read_file(manifest, "config.json"))
    wanted = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
              "max_position_embeddings")  # fmt: skip
    return {"parameters": manifest.figures.get("parameters"), **{name: config[name] for name in wanted}}


def _training_facts(store: Store, manifest: Manifest) -> dict[str, Any]:
    from training.figures import first_and_last, losses, read_figures

    records = read_figures(store.read_file(manifest, "figures.jsonl"))
    before, after = first_and_last(records)
    return {
        "version": manifest.version,
        "steps": len(records),
        "skipped_steps": sum(bool(r.get("skipped")) for r in records),
        "targets": sum(r["targets"] for r in records),
        "loss_before": round(before, 6),
        "loss_after": round(after, 6),
        "losses": [round(value, 4) for value in losses(records)],
    }


def _examples(asked: Mapping[str, Any], answers: Mapping[str, Any], vocabulary: Any) -> list[dict[str, Any]]:
    """Questions, the expected answer and both checkpoints' answers, the first few of each probe."""
    rows = []
    for probe, questions in asked.items():
        for i, question in enumerate(questions[:EXAMPLES]):
            said = {stage: answers[stage][probe][i] for stage in STAGES}
            rows.append(
                {
                    "probe": probe,
                    "question": _text(vocabulary, question.prompt),
                    "expected": _text(vocabulary, question.answer),
                    "exact": tuple(said["instructed"]) == question.answer,
                    **{stage: _text(vocabulary, said[stage]) for stage in STAGES},
                }
            )
    return rows


def _text(vocabulary: Any, ids: Sequence[int]) -> str:
    """Ids as text, control tokens left out."""
    control = set(vocabulary.control.values())
    return str(vocabulary.decode([i for i in ids if i not in control])).strip()


def main(arguments: Sequence[str]) -> int:
    """Entry point."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from training.card import card_html, card_markdown

    spec = JobSpec.read(Path(arguments[0]))
    Progress(spec.folder)("starting", 0, 1, "models", "loading the models")
    store = spec.open_store()
    card = evaluate(spec, store)
    with spec.writer(store) as writer:
        body = json.dumps(card, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
        writer.add("card.json", body.encode())
        writer.add("card.md", card_markdown(card).encode())
        writer.add("card.html", card_html(card).encode())
        writer.figures["passed"] = card["passed"]
    Progress(spec.folder)("published", 1, 1, "card", f"{spec.artifact} {writer.manifest.version}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
