"""Checkpoints at rest: cutting anew for other ranks, and which partial is chosen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from resources.store import Store
from training.checkpoint import (
    KEPT,
    TrainingState,
    delete_partials,
    newest_whole,
    partial_name,
    partials,
    publish_partial,
    resplit,
)
from training.job import JobSpec


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 5))
def test_resplit_keeps_every_number(size: int, before: int, after: int) -> None:
    whole = torch.arange(size, dtype=torch.float32) + 1

    def cut(ranks: int) -> list[torch.Tensor]:
        length = -(-size // ranks)
        padded = torch.nn.functional.pad(whole, (0, length * ranks - size))
        return list(padded.split(length))

    rng = torch.zeros(3, dtype=torch.uint8)
    shares = [{"rng.cpu": rng, "0.fp32": part, "0.step": torch.tensor(7.0)} for part in cut(before)]
    length = -(-size // after)
    for rank, expected in enumerate(cut(after)):
        mine = resplit(shares, [size], [length], rank)
        assert torch.equal(mine["0.fp32"], expected)
        assert mine["0.step"] == 7


def spec(folder: Path, key: str = "ab" * 8) -> JobSpec:
    return JobSpec(folder, (folder / "store").as_uri(), "checkpoints/pretrained/t", key, {}, {}, "", {})


def publish(store: Store, job: JobSpec, step: int) -> None:
    file = job.folder / "rank"
    file.write_bytes(f"{job.key} {step}".encode() * 100)
    state = TrainingState(step, 8, 2, (10,))
    publish_partial(store, job, state, {"state/rank-00000.safetensors": file})


def test_the_newest_whole_partial_of_this_job_is_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job, other = spec(tmp_path), spec(tmp_path, "cd" * 8)
    store = job.open_store()
    assert newest_whole(store, job.artifact, job.key) is None
    for step in (5, 10, 15):
        publish(store, job, step)
    publish(store, other, 99)
    assert [m.parameters["step"] for m in partials(store, job.artifact, job.key)] == [15, 10][:KEPT]
    newest = newest_whole(store, job.artifact, job.key)
    assert newest is not None and newest.parameters["step"] == 15

    damaged = store.object_path(newest.file("state/rank-00000.safetensors").sha256)
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    before = newest_whole(store, job.artifact, job.key)
    assert before is not None and before.parameters["step"] == 10
    assert "is damaged" in capsys.readouterr().out

    delete_partials(store, job)
    assert partials(store, job.artifact, job.key) == []
    assert len(store.versions(partial_name(job.artifact))) == 1


def test_position_follows_from_the_step() -> None:
    state = TrainingState(12, 8, 2, (10, 3))
    assert state.position == 96
    assert TrainingState.from_json(state.to_json()) == state
