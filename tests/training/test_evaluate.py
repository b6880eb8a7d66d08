"""Evaluation: figures against plain computation, probes, the card's pages."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from resources.store import Store
from tests.training.corpus import essays, publish_tokens, questions
from tests.training.test_model import SMALL
from tests.training.test_recipes import TINY
from training import probes
from training.batches import WindowTable
from training.card import card_html, card_markdown
from training.evaluate import data_facts, evaluate, heldout_proof, thresholds
from training.export import write_model
from training.job import JobSpec
from training.model import build_model, model_config
from training.perplexity import heldout_sample, ratio_interval, summary, window_losses
from training.recipes import load_recipe
from training.shards import ShardReader
from training.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A store with tokens and two (untrained) checkpoints."""
    folder = tmp_path_factory.mktemp("world")
    store = Store.open((folder / "store").as_uri())
    asked = questions(12)
    tokens = publish_tokens(
        store,
        texts={"text/biology": essays(8), "text/philosophy": essays(6, 2)},
        heldout={"text/biology": essays(6, 3), "text/philosophy": essays(5, 4)},
        dialogues=asked[:9],
        heldout_dialogues=asked[9:],
    )
    vocabulary = Vocabulary.from_store(store, tokens["tokens/vocabulary"])
    table = WindowTable.read(store, tokens["tokens/shards"])
    manifests = dict(tokens)
    for seed, stage in enumerate(("pretrained", "instructed")):
        model = build_model(model_config(SMALL, vocabulary.size, vocabulary.control), seed)
        write_model(model, folder / stage)
        figures = [
            {
                "step": i + 1,
                "loss": 5.0 - i,
                "strata": {},
                "grad_norm": 1.0,
                "learning_rate": 0.1,
                "targets": 9,
            }
            for i in range(3)
        ]
        windows = table.windows_of("dialogue/biology")
        with store.writer(f"checkpoints/{stage}/tiny") as writer:
            for path in sorted((folder / stage).iterdir()):
                writer.add(path.name, path)
            writer.add("figures.jsonl", "".join(json.dumps(f) + "\n" for f in figures).encode())
            writer.add("dialogues.json", json.dumps({"windows": windows, "documents": []}).encode())
        manifests[f"checkpoints/{stage}/tiny"] = writer.manifest
    return {"store": store, "vocabulary": vocabulary, "manifests": manifests, "folder": folder}


def spec(world: dict[str, Any], folder: Path) -> JobSpec:
    parameters = load_recipe(TINY).parameters("evaluate")
    inputs = {name: m.version for name, m in world["manifests"].items()}
    return JobSpec(folder, world["store"].uri, "evaluations/card/tiny", "ab" * 8, inputs, parameters, "", {})


def test_a_card_is_whole_and_the_same_twice(world: dict[str, Any], tmp_path: Path) -> None:
    card = evaluate(spec(world, tmp_path), world["store"])
    assert card["probes"]["recall"]["instructed"]["asked"] == 9
    assert card["probes"]["recall"]["instructed"]["exact"] == 0.0 and card["passed"] is False
    assert card["heldout"]["in_shards"] == 0 and card["heldout"]["documents"] == 14
    assert [row["stratum"] for row in card["perplexity"]["pretrained"]] == [
        "dialogue/biology", "text/biology", "text/philosophy", "all"
    ]  # fmt: skip
    for row in card["perplexity"]["pretrained"]:
        assert row["loss_low"] <= row["loss"] <= row["loss_high"]
        assert row["loss"] == pytest.approx(row["uniform_loss"], rel=0.05)
    text, page = card_markdown(card), card_html(card)
    assert "by heart" in text and "by heart" in page
    assert "not passed" in page and "<script" not in page and "http" not in page
    assert json.dumps(card) == json.dumps(evaluate(spec(world, tmp_path), world["store"]))


def test_losses_equal_plain_cross_entropy(world: dict[str, Any]) -> None:
    vocabulary, store = world["vocabulary"], world["store"]
    reader = ShardReader(store, world["manifests"]["tokens/heldout"])
    pad = vocabulary.control["<|pad|>"]
    model = build_model(model_config(SMALL, vocabulary.size, vocabulary.control), 0)
    rows = window_losses(model, reader, range(len(reader)), pad, vocabulary.text_bytes, batch=3)
    for window in range(len(reader)):
        ids = torch.from_numpy(reader.windows([window]))
        ids = ids[:, : int((ids != pad).sum())]
        logits = model(ids).logits[0, :-1]
        expected = functional.cross_entropy(logits, ids[0, 1:], reduction="sum").item()
        size = int(vocabulary.text_bytes[ids[0, 1:].numpy()].sum())
        assert rows[window] == pytest.approx([expected, ids.shape[1] - 1, size], rel=1e-4)


def test_bits_per_byte_of_a_uniform_guess() -> None:
    rows = np.array([[math.log(256) * 10, 10, 10.0]] * 4)
    row = summary("all", rows, 256, draws=50, seed=0)
    assert row["bits_per_byte"] == pytest.approx(8) and row["perplexity"] == pytest.approx(256)
    assert ratio_interval(rows[:, 0], rows[:, 1], 50, 0) == pytest.approx((math.log(256), math.log(256)))
    assert summary("image", np.array([[5.0, 2, 0]]), 256, 10, 0)["bits_per_byte"] is None


def test_greedy_answers_stop_at_the_end_and_do_not_depend_on_the_batch(world: dict[str, Any]) -> None:
    vocabulary, store = world["vocabulary"], world["store"]
    reader = ShardReader(store, world["manifests"]["tokens/shards"])
    table = WindowTable.read(store, world["manifests"]["tokens/shards"])
    asked = probes.questions(reader, table.windows_of("dialogue/biology"), vocabulary.control, 60)
    assert len(asked) == 9
    assert vocabulary.decode(asked[0].prompt).endswith("<|assistant|>")
    assert asked[0].answer[-1] == vocabulary.control["<|end_of_turn|>"]
    model = build_model(model_config(SMALL, vocabulary.size, vocabulary.control), 0).eval()
    one = probes.greedy_answers(model, asked, vocabulary.control, 12, batch=1)
    many = probes.greedy_answers(model, asked, vocabulary.control, 12, batch=9)
    assert one == many
    ids = torch.tensor([asked[3].prompt])
    for said in one[3]:
        assert said == int(model(ids).logits[0, -1].argmax())
        ids = torch.cat([ids, torch.tensor([[said]])], 1)


def test_token_f1() -> None:
    assert probes.token_f1([1, 2, 3], [1, 2, 3]) == 1
    assert probes.token_f1([1, 1], [1, 2]) == 0.5
    assert probes.token_f1([], [1]) == 0


def test_clozes_hold_the_right_end_once(world: dict[str, Any]) -> None:
    store = world["store"]
    reader = ShardReader(store, world["manifests"]["tokens/heldout"])
    table = WindowTable.read(store, world["manifests"]["tokens/heldout"])
    found = probes.clozes(reader, table, heldout_sample(table, 32, 1), 20, seed=1)
    assert found and found == probes.clozes(reader, table, heldout_sample(table, 32, 1), 20, seed=1)
    for cloze in found:
        assert cloze.choices.count(cloze.choices[cloze.right]) == 1
        whole = [*cloze.context, *cloze.choices[cloze.right]]
        assert any(row[: len(whole)].tolist() == whole for row in reader.windows(range(len(reader))))


def test_a_leak_is_counted(world: dict[str, Any]) -> None:
    store, manifests = world["store"], world["manifests"]
    proof = heldout_proof(
        store, manifests["tokens/shards"], manifests["tokens/heldout"], [["train/text/biology/0#0"], ["new"]]
    )
    assert proof["documents"] == 2 and proof["in_shards"] == 1


def test_data_facts_count_what_was_trained(world: dict[str, Any]) -> None:
    manifests = world["manifests"]
    facts = data_facts(world["store"], manifests["mixture/plan"], manifests["tokens/shards"])
    assert {row["stratum"]: row["documents"] for row in facts["strata"]} == {
        "dialogue/biology": 9, "text/biology": 8, "text/philosophy": 6
    }  # fmt: skip


@pytest.mark.parametrize(
    ("perplexity", "exact", "passed"), [(50, 0.6, True), (95, 0.6, False), (50, None, False)]
)
def test_thresholds(perplexity: float, exact: float | None, passed: bool) -> None:
    card = {
        "perplexity": {"pretrained": [{"perplexity": 1.0}, {"perplexity": perplexity}]},
        "probes": {"recall": {"instructed": {"exact": exact}}},
    }
    gate = {"max_perplexity_ratio": 0.9, "min_probe_accuracy": 0.5}
    assert all(t["passed"] for t in thresholds(card, gate, 100)) is passed
