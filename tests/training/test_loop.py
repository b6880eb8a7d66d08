"""The loop on one rank, in this process: DeepSpeed, a real model, data by position."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from training.distributed import Rank, start_rank
from training.job import JobSpec, Progress
from training.loop import Batch, Training, learning_rate, start_engine
from training.model import build_model, model_config, shifted_targets

POISON = 13
SECTION: dict[str, Any] = {
    "micro_batch": 4,
    "accumulation": 1,
    "learning_rate": 0.01,
    "warmup": 0,
    "min_lr_share": 1.0,
    "weight_decay": 0.1,
    "betas": [0.9, 0.95],
    "clip": 1.0,
    "checkpoint_every": 100,
    "activation_checkpointing": False,
}
SHAPE = {
    "hidden_size": 32,
    "layers": 1,
    "heads": 2,
    "kv_heads": 2,
    "intermediate_size": 64,
    "max_positions": 32,
    "rope_theta": 10000.0,
    "tie_embeddings": False,
}


class Counting:
    """Window i holds i, i + 1, …; one window can hold the poisoned id; rows end in padding of i tokens."""

    strata = ("text/a", "text/b")

    def __init__(self, poisoned: int | None = None) -> None:
        self.poisoned = poisoned

    def batch(self, start: int, count: int) -> Batch:
        windows = [(start + i) % 40 for i in range(count)]
        ids = torch.tensor(
            [[20 + (w + k) % 40 if k < 12 - w % 8 else 99 for k in range(12)] for w in windows]
        )
        for row, window in enumerate(windows):
            if window == self.poisoned:
                ids[row, 2] = POISON
        return Batch(ids, shifted_targets(ids, 99), windows, [w % 2 for w in windows])


@pytest.fixture(scope="module")
def rank() -> Iterator[Rank]:
    """One rank of a process group of its own, on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mine = {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    mine |= {"DS_ACCELERATOR": "cpu", "GLOO_SOCKET_IFNAME": "lo"}
    before = {name: os.environ.get(name) for name in mine}
    os.environ.update(mine)
    yield start_rank()
    torch.distributed.destroy_process_group()
    torch.use_deterministic_algorithms(False)
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def training(rank: Rank, folder: Path, source: Any, **changes: Any) -> Training:
    section = {**SECTION, **changes}
    model = build_model(model_config(SHAPE, 100, {"<|pad|>": 99, "<|end_of_turn|>": 98}), seed=1)
    if source.poisoned is not None:
        with torch.no_grad():
            model.model.embed_tokens.weight[POISON] = float("nan")
    engine = start_engine(model, section, 2)
    spec = JobSpec(folder, (folder / "store").as_uri(), "checkpoints/pretrained/t", "ab" * 8, {}, {}, "", {})
    return Training(spec, spec.open_store(), section, engine, source, 10, rank, Progress(folder), "test")


def weights(it: Training) -> dict[str, torch.Tensor]:
    state = it.engine.module.state_dict()
    return {name: value.clone().nan_to_num() for name, value in state.items()}


def test_the_loss_falls(rank: Rank, tmp_path: Path) -> None:
    it = training(rank, tmp_path, Counting())
    records = [it.step(step) for step in range(10)]
    assert records[-1]["loss"] < records[0]["loss"] - 0.5
    assert set(records[0]["strata"]) == {"text/a", "text/b"}
    assert not any("skipped" in record for record in records)


def test_a_step_that_is_not_finite_changes_nothing_and_names_its_window(rank: Rank, tmp_path: Path) -> None:
    it = training(rank, tmp_path, Counting(poisoned=6))
    first = it.step(0)
    before = weights(it)
    second = it.step(1)
    after = weights(it)
    third = it.step(2)
    assert first.get("skipped") is None and third.get("skipped") is None
    assert second["skipped"] and second["quarantined"] == [6]
    assert second["loss"] is None and second["grad_norm"] is None
    assert second["strata"]["text/b"] is not None
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert third["loss"] is not None and third["loss"] < first["loss"]


def test_accumulation_equals_one_larger_batch(rank: Rank, tmp_path: Path) -> None:
    whole = training(rank, tmp_path, Counting())
    parts = training(rank, tmp_path, Counting(), micro_batch=1, accumulation=4)
    for step in range(3):
        a, b = whole.step(step), parts.step(step)
        assert a["targets"] == b["targets"]
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-3)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=3e-2)


def test_a_saved_state_goes_on_to_the_same_bits(rank: Rank, tmp_path: Path) -> None:
    unbroken = training(rank, tmp_path / "a", Counting()) if (tmp_path / "a").mkdir() is None else None
    assert unbroken is not None
    expected = [unbroken.step(step) for step in range(8)]
    (tmp_path / "b").mkdir()
    broken = training(rank, tmp_path / "b", Counting())
    broken.figures_path.write_bytes(b"")
    for step in range(5):
        assert broken.step(step) == expected[step]
    broken.save(5)
    resumed = training(rank, tmp_path / "b", Counting())
    assert resumed._resume() == 5
    assert [resumed.step(step) for step in range(5, 8)] == expected[5:]
    assert all(torch.equal(value, weights(unbroken)[name]) for name, value in weights(resumed).items())


def test_learning_rate_schedule() -> None:
    section = {"learning_rate": 1.0, "warmup": 4, "min_lr_share": 0.1}
    rates = [learning_rate(step, 20, section) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0] and rates[4] == 1.0
    assert rates[4:] == sorted(rates[4:], reverse=True) and rates[-1] == pytest.approx(0.1)
