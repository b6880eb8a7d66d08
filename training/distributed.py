"""torchrun wiring: one program, N ranks on this machine, over loopback.

The program that the launcher starts is the torchrun agent; its workers are the same module again, told
apart by torchrun's own variables. On a machine without a GPU DeepSpeed runs on its CPU accelerator.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

TERMINATED = 128 + signal.SIGTERM
WORKER_GRACE_SECONDS = 30
COLLECTIVE_TIMEOUT = timedelta(minutes=10)


def is_worker() -> bool:
    """Whether this process was started by torchrun."""
    return "TORCHELASTIC_RUN_ID" in os.environ and "RANK" in os.environ


def run_ranks(module: str, folder: Path, ranks: int) -> int:
    """Start `python -m module folder` under torchrun with N ranks and wait; returns the exit status.

    The rendezvous takes a free port on 127.0.0.1. SIGTERM reaches every worker, which then saves; a rank
    that fails ends the others, and its own traceback stands in the log.
    """
    _environment(ranks)
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id="luca",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.2,
        start_method="spawn",
        log_line_prefix_template="",
    )
    try:
        elastic_launch(config, sys.executable)("-m", module, str(folder))
    except SignalException:
        print("ended by SIGTERM; the state was saved, the same job continues from it", file=sys.stderr)
        return TERMINATED
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        if set(codes.values()) <= {TERMINATED, -signal.SIGTERM}:
            return TERMINATED
        print(f"{module}: ranks failed (rank: exit status): {codes}; the traceback is above", file=sys.stderr)
        return 1
    return 0


def _environment(ranks: int) -> None:
    """Variables that the ranks inherit."""
    cores = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // ranks)))
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # One device a rank is read through torch; without a GPU DeepSpeed must be told before its import.
    if not Path("/dev/nvidiactl").exists():
        os.environ["DS_ACCELERATOR"] = "cpu"


@dataclass(frozen=True)
class Rank:
    """This process among its peers."""

    index: int
    count: int
    local: int

    @property
    def first(self) -> bool:
        return self.index == 0


class StopFlag:
    """Set by SIGTERM; the loop asks for it between steps, so that a step is never torn."""

    def __init__(self) -> None:
        self.set = False

    def install(self) -> StopFlag:
        signal.signal(signal.SIGTERM, self._handle)
        return self

    def _handle(self, _signal: int, _frame: object) -> None:
        self.set = True


def start_rank() -> Rank:
    """Join the process group that torchrun's variables describe (gloo, or nccl with a GPU)."""
    _die_with_parent()
    import deepspeed
    import torch

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # DeepSpeed compiles a shared-memory all-reduce for inference when it joins (40 s on two cores). Training
    # never calls it, so it is declared incompatible and nothing is compiled.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    cuda = torch.cuda.is_available()
    rank = Rank(
        int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", "0"))
    )
    if cuda:
        torch.cuda.set_device(rank.local)
    deepspeed.init_distributed(
        dist_backend="nccl" if cuda else "gloo",
        auto_mpi_discovery=False,
        verbose=False,
        timeout=COLLECTIVE_TIMEOUT,
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    return rank


def _die_with_parent() -> None:
    """Ask Linux to kill this rank when the torchrun agent is killed: no rank trains on unseen."""
    prctl: Callable[..., int] | None = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None and is_worker():
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
