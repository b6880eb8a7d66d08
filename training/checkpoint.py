"""DeepSpeed's state <-> an artifact: weights, optimizer moments, RNG and figures, one file a rank.

ZeRO 1 and 2 keep, on each rank, one flat float32 slice of every parameter group and Adam's two moments of it.
They are written as safetensors: no pickle, equal bytes for equal state, and each slice can be cut anew for
another number of ranks (join the slices, drop the padding, split). A *partial* is an artifact like any
other, so its manifest is written last and a torn one does not exist; a damaged one is found by its hashes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from resources.manifest import StoreError
from training.job import JobError, JobSpec

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import Store

STATE_FILE = "state/state.json"
KEPT = 2
MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands: the next step, and what its slices were cut for."""

    step: int
    global_batch: int
    ranks: int
    sizes: tuple[int, ...]
    """Parameters of each group without padding."""

    @property
    def position(self) -> int:
        """First position of the stream that has not been learned."""
        return self.step * self.global_batch

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "position": self.position,
            "global_batch": self.global_batch,
            "ranks": self.ranks,
            "sizes": list(self.sizes),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> TrainingState:
        return cls(raw["step"], raw["global_batch"], raw["ranks"], tuple(raw["sizes"]))


def rank_file(rank: int) -> str:
    """Name of one rank's file in the artifact."""
    return f"state/rank-{rank:05d}.safetensors"


def partial_name(artifact: str) -> str:
    """Name of the artifact that holds a training's unfinished states."""
    return f"{artifact}/partial"


def group_sizes(engine: Any) -> tuple[int, ...]:
    """Numbers of parameters in each group, padding left out."""
    return tuple(sum(p.numel() for p in group) for group in engine.optimizer.bit16_groups)


def rank_tensors(engine: Any) -> dict[str, torch.Tensor]:
    """This rank's share of the state: `<group>.fp32|exp_avg|exp_avg_sq|step`, and `rng.cpu|rng.cuda`."""
    optimizer = engine.optimizer
    tensors: dict[str, torch.Tensor] = {"rng.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    for index, master in enumerate(optimizer.single_partition_of_fp32_groups):
        tensors[f"{index}.fp32"] = master.data
        moments = optimizer.optimizer.state.get(master, {})
        for name in (*MOMENTS, "step"):
            if name in moments:
                tensors[f"{index}.{name}"] = torch.as_tensor(moments[name])
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def restore_rank(engine: Any, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put `rank_tensors` back; the bf16 weights come from the float32 ones as in a step. Collective."""
    optimizer = engine.optimizer
    for index, master in enumerate(optimizer.single_partition_of_fp32_groups):
        master.data.copy_(tensors[f"{index}.fp32"])
        state = {
            name: tensors[f"{index}.{name}"].clone().to(master.device if name != "step" else "cpu")
            for name in (*MOMENTS, "step")
            if f"{index}.{name}" in tensors
        }
        if state:
            optimizer.optimizer.state[master] = state
    optimizer.update_lp_params()
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng.cuda"])


def resplit(
    shares: Sequence[Mapping[str, torch.Tensor]], sizes: Iterable[int], partition: Iterable[int], rank: int
) -> dict[str, torch.Tensor]:
    """One rank's share of a state that was cut for another number of ranks.

    `shares` are all old ranks' tensors in order, `sizes` the groups' parameters without padding,
    `partition` the length of a slice now. RNG is drawn anew from the old first rank's and the rank's index.
    """
    mine: dict[str, torch.Tensor] = {"rng.cpu": shares[min(rank, len(shares) - 1)]["rng.cpu"]}
    for index, (size, length) in enumerate(zip(sizes, partition, strict=True)):
        for name in ("fp32", *MOMENTS):
            key = f"{index}.{name}"
            if key not in shares[0]:
                continue
            whole = torch.cat([share[key] for share in shares])[:size]
            slice_ = whole[rank * length : (rank + 1) * length]
            mine[key] = torch.nn.functional.pad(slice_, (0, length - slice_.numel()))
        if f"{index}.step" in shares[0]:
            mine[f"{index}.step"] = shares[0][f"{index}.step"]
    return mine


def write_state(engine: Any, state: TrainingState, rank: int, folder: Path) -> None:
    """Write this rank's file, and on the first rank `state.json`, under `folder`."""
    from safetensors.torch import save_file

    (folder / "state").mkdir(parents=True, exist_ok=True)
    save_file(rank_tensors(engine), folder / rank_file(rank))
    if rank == 0:
        text = json.dumps(state.to_json(), indent=1, sort_keys=True) + "\n"
        (folder / STATE_FILE).write_text(text, encoding="utf-8")


def read_state(store: Store, manifest: Manifest) -> TrainingState:
    """The state's description in a partial or a final checkpoint."""
    return TrainingState.from_json(json.loads(store.read_file(manifest, STATE_FILE)))


def restore(engine: Any, store: Store, manifest: Manifest, rank: int, ranks: int) -> TrainingState:
    """Load a whole checkpoint into the engine; cut anew if the number of ranks changed. Collective."""
    from safetensors.torch import load_file

    state = read_state(store, manifest)
    if state.sizes != group_sizes(engine):
        raise JobError(
            f"{manifest.name} {manifest.version}: holds groups of {state.sizes} parameters, "
            f"the model has {group_sizes(engine)}: the recipe's model section changed; train anew"
        )
    if state.ranks == ranks:
        restore_rank(engine, load_file(store.file_path(manifest, rank_file(rank))))
    else:
        shares = [load_file(store.file_path(manifest, rank_file(r))) for r in range(state.ranks)]
        restore_rank(engine, resplit(shares, state.sizes, engine.optimizer.partition_size, rank))
    return state


def is_whole(store: Store, manifest: Manifest) -> bool:
    """Whether every file can be read and has the bytes that the manifest promises."""
    for entry in manifest.files:
        try:
            with store.open_object(entry.sha256, verify=True) as file:
                while file.read(1 << 20):
                    pass
        except (OSError, StoreError) as error:
            print(f"{manifest.name} {manifest.version}: {entry.name} is damaged ({error})", flush=True)
            return False
    return True


def partials(store: Store, artifact: str, job: str) -> list[Manifest]:
    """The partials of one job, newest step first."""
    name = partial_name(artifact)
    mine = []
    for found, version in store.backend.artifacts(name):
        try:
            manifest = store.get(name, version) if found == name else None
        except StoreError as error:
            print(f"{name} {version}: passed over ({error})", flush=True)
            continue
        if manifest is not None and manifest.parameters.get("job") == job:
            mine.append(manifest)
    return sorted(mine, key=lambda m: int(m.parameters["step"]), reverse=True)


def newest_whole(store: Store, artifact: str, job: str) -> Manifest | None:
    """The newest partial of this job whose files are all undamaged; says which ones it passed over."""
    for manifest in partials(store, artifact, job):
        if is_whole(store, manifest):
            return manifest
        print(f"{manifest.name} {manifest.version}: damaged, passed over for the one before", flush=True)
    return None


def publish_partial(store: Store, spec: JobSpec, state: TrainingState, files: Mapping[str, Path]) -> None:
    """Publish a partial (first rank only), then delete this job's older ones beyond the last KEPT."""
    with store.writer(
        partial_name(spec.artifact),
        inputs=spec.inputs,
        parameters={"job": spec.key, "step": state.step},
        code_version=spec.code_version,
        run=spec.run,
        promote=False,
    ) as writer:
        for name, path in sorted(files.items()):
            writer.add(name, path)
        # Parameters are no part of a version: the job's key as a file keeps equal states of two jobs apart.
        writer.add("job", spec.key.encode())
    delete_partials(store, spec, keep=KEPT)


def delete_partials(store: Store, spec: JobSpec, keep: int = 0) -> None:
    """Delete this job's partials but the newest `keep`."""
    for manifest in partials(store, spec.artifact, spec.key)[keep:]:
        store.delete_artifact(manifest.name, manifest.version)
