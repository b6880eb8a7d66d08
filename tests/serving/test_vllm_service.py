"""The engine's service without vLLM itself (that is tests/assets/endpoint, slow)."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from resources.store import Store
from serving.vllm_service import (
    checkout,
    engine_command,
    engine_environment,
    healthy,
    wait_until_healthy,
)
from training.job import JobError

SERVE = {
    "alias": "luca-x",
    "max_model_len": 512,
    "dtype": "bfloat16",
    "kv_cache_gb": 0.5,
    "enforce_eager": True,
}


def test_the_engine_listens_on_loopback_only_and_knows_its_bounds(tmp_path: Path) -> None:
    command = engine_command(tmp_path, 1234, SERVE, cpu=True)
    options = dict(itertools.pairwise(command))
    assert options["--host"] == "127.0.0.1" and options["--port"] == "1234"
    assert options["--max-model-len"] == "512" and options["--served-model-name"] == "luca-x"
    assert int(options["--num-gpu-blocks-override"]) * 128 >= 16 * 512
    assert "--enforce-eager" in command
    on_gpu = engine_command(tmp_path, 1234, {**SERVE, "enforce_eager": False}, cpu=False)
    assert "--num-gpu-blocks-override" not in on_gpu and "--enforce-eager" not in on_gpu
    assert on_gpu[on_gpu.index("--kv-cache-memory-bytes") + 1] == str(2**29)
    with pytest.raises(JobError, match=r"parameters\.alias: missing"):
        engine_command(tmp_path, 1, {"max_model_len": 1, "dtype": "auto"}, cpu=True)


def test_the_engine_asks_no_hub_and_reports_nothing() -> None:
    environment = engine_environment({"PATH": "/bin"}, SERVE)
    assert (
        environment["HF_HUB_OFFLINE"]
        == environment["VLLM_NO_USAGE_STATS"]
        == environment["DO_NOT_TRACK"]
        == "1"
    )
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == "1" and environment["PATH"] == "/bin"


def test_an_engine_that_dies_is_seen_at_once(tmp_path: Path) -> None:
    dying = subprocess.Popen([sys.executable, "-c", "import time, sys; time.sleep(0.5); sys.exit(3)"])
    assert not wait_until_healthy(tmp_path, dying, "http://127.0.0.1:9")
    assert dying.returncode == 3
    assert json.loads((tmp_path / "progress.json").read_text())["stage"] == "start"


def test_a_healthy_engine_is_recognised(engine: str, tmp_path: Path) -> None:
    assert healthy(engine) and not healthy("http://127.0.0.1:9")


def test_only_the_models_files_are_checked_out_and_a_half_one_is_made_whole(tmp_path: Path) -> None:
    store = Store.open((tmp_path / "store").as_uri())
    with store.writer("checkpoints/instructed/x") as writer:
        for name in ("config.json", "tokenizer.json", "model.safetensors", "state/rank-00000.safetensors"):
            writer.add(name, name.encode())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes(b"half")
    assert checkout(store, writer.manifest, folder) == folder
    assert (folder / "config.json").read_bytes() == b"config.json"
    assert not (folder / "state").exists()
    with store.writer("checkpoints/instructed/y") as other:
        other.add("config.json", b"{}")
    with pytest.raises(JobError, match=r"no tokenizer\.json"):
        checkout(store, other.manifest, tmp_path / "other")
