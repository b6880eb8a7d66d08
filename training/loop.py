"""The training loop that pre-training and fine-tuning share.

One step: the batch at (step, rank), a pure function of the step; losses per token in float32; their sum over
the whole global batch divided by its number of targets, however the batch is cut into ranks and
accumulation; clipped AdamW; one line of figures. A step whose loss or gradient is not finite changes nothing
and names its windows. Everything that the next step depends on is in the saved state, so that a
killed run goes on to the same bits.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.distributed as dist

from training import checkpoint
from training.distributed import TERMINATED, Rank, StopFlag, start_rank
from training.job import JobError, JobSpec, Progress
from training.model import IGNORED, TokenLosses, parameter_groups

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from resources.store import Store


@dataclass(frozen=True)
class Batch:
    """ids, targets: int64[n, length]; `windows` and `strata` (index into the source's names) of each row."""

    ids: torch.Tensor
    targets: torch.Tensor
    windows: Sequence[int]
    strata: Sequence[int]


class Source(Protocol):
    """Training data by position."""

    strata: Sequence[str]

    def batch(self, start: int, count: int) -> Batch:
        """The `count` windows from global position `start` on: a pure function."""
        ...


class Stopped(Exception):
    """The training was asked to end early, and saved its state."""


def learning_rate(step: int, steps: int, section: Mapping[str, Any]) -> float:
    """Linear warm-up, then a cosine down to `min_lr_share` of the peak at the last step."""
    peak, warmup, floor = section["learning_rate"], section["warmup"], section["min_lr_share"]
    if step < warmup:
        return float(peak * (step + 1) / warmup)
    progress = (step - warmup) / max(1, steps - 1 - warmup)
    return float(peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))))


def deepspeed_config(section: Mapping[str, Any], zero_stage: int, parameters: int) -> dict[str, Any]:
    """DeepSpeed's configuration: ZeRO, bf16 weights with float32 masters, gradients reduced in float32."""
    bucket = max(1_000_000, min(parameters, 50_000_000))
    return {
        "train_micro_batch_size_per_gpu": section["micro_batch"],
        "gradient_accumulation_steps": section["accumulation"],
        "gradient_clipping": section["clip"],
        "bf16": {"enabled": True, "check_grad_overflow": True},
        "communication_data_type": "fp32",
        "zero_optimization": {
            "stage": zero_stage,
            "overlap_comm": False,
            "contiguous_gradients": True,
            "round_robin_gradients": False,
            "reduce_bucket_size": bucket,
            "allgather_bucket_size": bucket,
        },
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }


def start_engine(model: LlamaForCausalLM, section: Mapping[str, Any], zero_stage: int) -> Any:
    """A DeepSpeed engine around the model's token losses, with AdamW."""
    import deepspeed

    if section["activation_checkpointing"]:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    losses = TokenLosses(model)
    groups = parameter_groups(losses, section["weight_decay"])
    optimizer = torch.optim.AdamW(
        groups, lr=section["learning_rate"], betas=tuple(section["betas"]), eps=1e-8
    )
    config = deepspeed_config(section, zero_stage, sum(p.numel() for p in losses.parameters()))
    engine, *_ = deepspeed.initialize(
        model=losses, optimizer=optimizer, config=config, dist_init_required=False
    )
    engine.train()
    return engine


@dataclass
class Training:
    """One training under way on one rank."""

    spec: JobSpec
    store: Store
    section: Mapping[str, Any]
    engine: Any
    source: Source
    steps: int
    rank: Rank
    progress: Progress
    stage: str
    stop: StopFlag = field(default_factory=StopFlag)

    @property
    def local_batch(self) -> int:
        return int(self.section["micro_batch"] * self.section["accumulation"])

    @property
    def global_batch(self) -> int:
        return self.local_batch * self.rank.count

    def run(self) -> None:
        """From the newest whole partial to the last step; raises Stopped after SIGTERM."""
        # Loading weights may have drawn from an unseeded generator.
        torch.manual_seed(int(self.spec.parameters["seed"]) + self.rank.index)
        step = self._resume()
        self._report(step, "")
        while step < self.steps:
            began = time.monotonic()
            record = self.step(step)
            step += 1
            if self.rank.first:
                self._record(record, time.monotonic() - began)
            stopping = bool(self._agree(float(self.stop.set)))
            if step < self.steps and (stopping or step % self.section["checkpoint_every"] == 0):
                self.save(step)
            if stopping and step < self.steps:
                self._report(step, "stopped; state saved")
                raise Stopped

    def step(self, step: int) -> dict[str, Any]:
        """One optimizer step; returns its figures, equal on every rank. Collective."""
        micro = self.section["micro_batch"]
        start = step * self.global_batch + self.rank.index * self.local_batch
        batches = [self.source.batch(start + i, micro) for i in range(0, self.local_batch, micro)]
        strata = len(self.source.strata)
        counts = np.zeros(strata)
        for batch in batches:
            np.add.at(counts, np.asarray(batch.strata), (batch.targets != IGNORED).sum(1).numpy())
        counts = self._sum(counts)
        targets = max(1.0, float(counts.sum()))

        rate = learning_rate(step, self.steps, self.section)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = rate
        sums = np.zeros(strata)
        bad: list[int] = []
        device = self.engine.device
        for batch in batches:
            losses = self.engine(batch.ids.to(device), batch.targets.to(device))
            # The engine divides by the accumulation and the mean over ranks by their number.
            scale = self.section["accumulation"] * self.rank.count / targets
            self.engine.backward(losses.sum() * scale)
            per_window = losses.detach().double().sum(1).cpu().numpy()
            np.add.at(sums, np.asarray(batch.strata), per_window)
            bad += [
                int(w) for w, loss in zip(batch.windows, per_window, strict=True) if not np.isfinite(loss)
            ]
            # The optimizer acts on the last micro-batch only; before, this only counts.
            self.engine.step()
        sums = self._sum(sums)
        skipped = bool(self.engine.optimizer.overflow)
        norm = self.engine.get_global_grad_norm()
        record: dict[str, Any] = {
            "step": step + 1,
            "loss": _finite(float(sums.sum()) / targets),
            "strata": {
                name: _finite(sums[i] / counts[i])
                for i, name in enumerate(self.source.strata)
                if counts[i] > 0
            },
            "grad_norm": None if norm is None else _finite(float(norm)),
            "learning_rate": rate,
            "targets": int(targets),
        }
        if skipped:
            record["skipped"] = True
            record["quarantined"] = self._quarantine(bad, batches)
        return record

    def save(self, step: int) -> None:
        """Publish the state after `step` steps as a partial. Collective."""
        folder = self.spec.folder / "partial"
        if self.rank.first:
            shutil.rmtree(folder, ignore_errors=True)
        dist.barrier()
        state = self.state(step)
        checkpoint.write_state(self.engine, state, self.rank.index, folder)
        dist.barrier()
        if self.rank.first:
            files = {
                checkpoint.rank_file(r): folder / checkpoint.rank_file(r) for r in range(self.rank.count)
            }
            files[checkpoint.STATE_FILE] = folder / checkpoint.STATE_FILE
            files["figures.jsonl"] = self.figures_path
            checkpoint.publish_partial(self.store, self.spec, state, files)
            shutil.rmtree(folder)
        dist.barrier()

    def state(self, step: int) -> checkpoint.TrainingState:
        return checkpoint.TrainingState(
            step=step,
            global_batch=self.global_batch,
            ranks=self.rank.count,
            sizes=checkpoint.group_sizes(self.engine),
        )

    @property
    def figures_path(self) -> Path:
        return self.spec.folder / "figures.jsonl"

    @property
    def timings_path(self) -> Path:
        return self.spec.folder / "timings.jsonl"

    def _resume(self) -> int:
        chosen: list[str | None] = [None]
        if self.rank.first:
            partial = checkpoint.newest_whole(self.store, self.spec.artifact, self.spec.key)
            chosen = [partial.version if partial else None]
        dist.broadcast_object_list(chosen, src=0)
        if chosen[0] is None:
            if self.rank.first:
                self.figures_path.write_bytes(b"")
                self._keep_timings(0)
            return 0
        manifest = self.store.get(checkpoint.partial_name(self.spec.artifact), chosen[0])
        assert manifest is not None
        state = checkpoint.restore(self.engine, self.store, manifest, self.rank.index, self.rank.count)
        if state.global_batch != self.global_batch:
            raise JobError(
                f"{manifest.name} {manifest.version}: has a global batch of {state.global_batch}, the job "
                f"has {self.global_batch}: keep ranks x micro_batch x accumulation, or train anew"
            )
        if self.rank.first:
            self.figures_path.write_bytes(self.store.read_file(manifest, "figures.jsonl"))
            self._keep_timings(state.step)
            print(f"going on at step {state.step} from {manifest.name} {manifest.version}", flush=True)
        return state.step

    def _keep_timings(self, step: int) -> None:
        """Drop timings of steps after `step`, which will be done again."""
        old = self.timings_path.read_text(encoding="utf-8").splitlines() if self.timings_path.exists() else []
        kept = [line for line in old if line.endswith("}") and json.loads(line)["step"] <= step]
        self.timings_path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")

    def _record(self, record: Mapping[str, Any], seconds: float) -> None:
        timing = {"step": record["step"], "seconds": round(seconds, 4), "targets": record["targets"]}
        for path, line in ((self.figures_path, record), (self.timings_path, timing)):
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, sort_keys=True, allow_nan=False) + "\n")
        loss = "skipped: not finite" if record.get("skipped") else f"loss {record['loss']:.3f}"
        self._report(record["step"], f"{loss}, {record['targets'] / seconds:,.0f} targets/s")

    def _report(self, step: int, message: str) -> None:
        if self.rank.first:
            self.progress(self.stage, step, self.steps, "steps", message)

    def _sum(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Sum over ranks, in float64."""
        tensor = torch.from_numpy(values.astype(np.float64)).to(self.engine.device)
        dist.all_reduce(tensor)
        summed: np.ndarray[Any, Any] = tensor.cpu().numpy()
        return summed

    def _agree(self, value: float) -> float:
        return float(self._sum(np.array([value]))[0])

    def _quarantine(self, bad: Sequence[int], batches: Sequence[Batch]) -> list[int]:
        """Windows of a skipped step, over all ranks: those whose loss is not finite, else the whole batch."""
        every: list[Any] = [None] * self.rank.count
        dist.all_gather_object(every, (list(bad), [int(w) for batch in batches for w in batch.windows]))
        named = sorted({w for own, _ in every for w in own})
        return named or sorted({w for _, own in every for w in own})


def _finite(value: float) -> float | None:
    """A number that JSON knows, or None: a NaN is shown as missing, never as 0."""
    return float(value) if math.isfinite(value) else None


def run_rank(
    spec: JobSpec, prepare: Callable[[JobSpec, Store, Rank], tuple[Training, Callable[[], None]]]
) -> int:
    """The body of a rank: join, prepare, train, publish. Returns the exit status."""
    stop = StopFlag().install()
    rank = start_rank()
    training, publish = prepare(spec, spec.open_store(), rank)
    training.stop = stop
    try:
        training.run()
        publish()
    except Stopped:
        return TERMINATED
    finally:
        dist.destroy_process_group()
    return 0
