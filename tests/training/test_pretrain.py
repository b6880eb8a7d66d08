"""The programs under torchrun: killed at random steps, ended by TERM, damaged states, unbroken curves."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from resources.manifest import Manifest, artifact_key
from resources.settings import PROJECT
from resources.store import Store
from tests.training.corpus import essays, publish_tokens, questions
from training.checkpoint import partial_name, partials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
ARTIFACT = "checkpoints/pretrained/small"
STEPS = 30
PARAMETERS: dict[str, Any] = {
    "name": "small",
    "seed": 5,
    "model": {
        "hidden_size": 64, "layers": 2, "heads": 4, "kv_heads": 2, "intermediate_size": 128,
        "max_positions": 64, "rope_theta": 10000.0, "tie_embeddings": True,
    },
    "distributed": {"ranks": 2, "zero_stage": 2},
    "pretrain": {
        "steps": STEPS, "micro_batch": 2, "accumulation": 1, "learning_rate": 0.003, "warmup": 2,
        "min_lr_share": 0.1, "weight_decay": 0.1, "betas": [0.9, 0.95], "clip": 1.0, "checkpoint_every": 4,
        "activation_checkpointing": True,
    },
}  # fmt: skip
INSTRUCT: dict[str, Any] = {
    "name": "small",
    "seed": 5,
    "distributed": {"ranks": 2, "zero_stage": 2},
    "instruct": {
        **{k: v for k, v in PARAMETERS["pretrain"].items() if k != "steps"},
        "epochs": 6,
        "dialogues": 16,
    },
}


class World:
    """A store with tokens, and jobs in folders beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store.open((folder / "store").as_uri())
        self.tokens = publish_tokens(
            self.store,
            texts={"text/biology": essays(20), "text/philosophy": essays(20, 2)},
            heldout={"text/biology": essays(4, 3)},
            dialogues=questions(20),
        )

    def job(
        self, name: str, artifact: str, inputs: Mapping[str, Manifest], parameters: Mapping[str, Any]
    ) -> tuple[Path, str]:
        folder = self.folder / name
        folder.mkdir()
        versions = {m.name: m.version for m in inputs.values()}
        key = artifact_key(artifact, versions, parameters, name)
        body = {
            "store": self.store.uri, "artifact": artifact, "key": key, "inputs": versions,
            "parameters": parameters, "code_version": name, "run": {},
        }  # fmt: skip
        (folder / "spec.json").write_text(json.dumps(body))
        return folder, key

    def pretraining(self, name: str) -> tuple[Path, str]:
        names = ("tokens/vocabulary", "tokens/shards", "mixture/plan")
        return self.job(name, ARTIFACT, {n: self.tokens[n] for n in names}, PARAMETERS)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def unbroken(world: World) -> Manifest:
    """The checkpoint of a run that nothing disturbed."""
    folder, key = world.pretraining("unbroken")
    assert finish(start("training.pretrain", folder)) == 0, log(folder)
    manifest = world.store.cached(ARTIFACT, key)
    assert manifest is not None
    return manifest


def start(module: str, folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", module, str(folder)],
            cwd=PROJECT,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def finish(process: subprocess.Popen[bytes]) -> int:
    return process.wait(timeout=900)


def log(folder: Path) -> str:
    return (folder / "log").read_text(errors="replace")[-4000:]


def steps_done(folder: Path) -> int:
    file = folder / "figures.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


def wait_for_step(process: subprocess.Popen[bytes], folder: Path, step: int) -> None:
    while process.poll() is None and steps_done(folder) < step:
        time.sleep(0.02)


def figures(store: Store, manifest: Manifest) -> bytes:
    return store.read_file(manifest, "figures.jsonl")


def same_content(one: Manifest, two: Manifest) -> bool:
    return one.version == two.version


def test_ten_kills_leave_the_same_checkpoint_to_the_bit(world: World, unbroken: Manifest) -> None:
    folder, key = world.pretraining("killed")
    rng = random.Random(11)
    targets = sorted(rng.sample(range(2, STEPS), 10))
    kills = 0
    for target in targets:
        process = start("training.pretrain", folder)
        wait_for_step(process, folder, target)
        time.sleep(rng.random() * 0.3)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills >= 9
    assert finish(start("training.pretrain", folder)) == 0, log(folder)
    manifest = world.store.cached(ARTIFACT, key)
    assert manifest is not None
    assert "going on at step" in log(folder)
    assert figures(world.store, manifest) == figures(world.store, unbroken)
    assert same_content(manifest, unbroken)
    assert partials(world.store, ARTIFACT, key) == []


def test_killing_the_agent_leaves_no_rank_behind(world: World) -> None:
    folder, _ = world.pretraining("orphans")
    process = start("training.pretrain", folder)
    wait_for_step(process, folder, 2)
    ranks = psutil.Process(process.pid).children(recursive=True)
    assert len(ranks) >= 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(ranks, timeout=20)
    assert alive == []


def test_term_saves_and_a_damaged_state_is_passed_over(world: World, unbroken: Manifest) -> None:
    folder, key = world.pretraining("ended")
    process = start("training.pretrain", folder)
    wait_for_step(process, folder, 10)
    os.killpg(process.pid, signal.SIGTERM)
    assert finish(process) == 128 + signal.SIGTERM, log(folder)
    saved = partials(world.store, ARTIFACT, key)
    assert saved[0].parameters["step"] >= 10 and len(saved) == 2
    assert world.store.cached(ARTIFACT, key) is None

    path = world.store.object_path(saved[0].file("state/rank-00001.safetensors").sha256)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:100])
    assert finish(start("training.pretrain", folder)) == 0, log(folder)
    assert "passed over for the one before" in log(folder)
    manifest = world.store.cached(ARTIFACT, key)
    assert manifest is not None and figures(world.store, manifest) == figures(world.store, unbroken)
    assert same_content(manifest, unbroken)


def test_instructing_learns_from_the_checkpoint(world: World, unbroken: Manifest) -> None:
    names = ("tokens/vocabulary", "tokens/shards")
    inputs = {**{n: world.tokens[n] for n in names}, ARTIFACT: unbroken}
    versions = []
    for attempt in ("instructed", "instructed-again"):
        folder, key = world.job(attempt, "checkpoints/instructed/small", inputs, INSTRUCT)
        assert finish(start("training.finetune", folder)) == 0, log(folder)
        manifest = world.store.cached("checkpoints/instructed/small", key)
        assert manifest is not None
        versions.append(manifest.version)
    assert versions[0] == versions[1]
    learned = json.loads(world.store.read_file(manifest, "dialogues.json"))
    assert len(learned["windows"]) == 16
    records = [json.loads(line) for line in figures(world.store, manifest).splitlines()]
    assert len(records) == 16 * 6 // 4
    assert records[-1]["loss"] < records[0]["loss"]
    assert {name for record in records for name in record["strata"]} == {"dialogue/biology"}

    from assets.checkpoints.describe import CHECKS, describe

    for checked in (unbroken, manifest):
        assert all(check(world.store, checked).passed for check in CHECKS.values())
        assert describe(world.store, checked)["steps"] > 0
    assert world.store.versions(partial_name("checkpoints/instructed/small")) == []
