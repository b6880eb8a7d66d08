"""Supervised fine-tuning on dialogues: `python -m training.finetune JOBDIR`.

Starts from `checkpoints/pretrained/<recipe>` and learns the assistant's side of the dialogue windows of
`tokens/shards`. Publishes `checkpoints/instructed/<recipe>`, with `dialogues.json`: what was learned.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.job import JobError, JobSpec, Progress

if TYPE_CHECKING:
    from resources.store import Store
    from training.distributed import Rank
    from training.loop import Training

MODULE = "training.finetune"


def prepare(spec: JobSpec, store: Store, rank: Rank) -> tuple[Training, Callable[[], None]]:
    """The training and the function that publishes it. Raises JobError if there is no dialogue to learn."""
    from training.batches import DialogueSource, WindowTable, choose_dialogues
    from training.export import publish_checkpoint
    from training.loop import Training, start_engine
    from training.model import load_model
    from training.shards import ShardReader
    from training.vocabulary import Vocabulary

    parameters = spec.parameters
    section = parameters["instruct"]
    base = spec.input(store, "checkpoints/pretrained")
    vocabulary_manifest = spec.input(store, "tokens/vocabulary")
    shards = spec.input(store, "tokens/shards")
    vocabulary = Vocabulary.from_store(store, vocabulary_manifest)
    table = WindowTable.read(store, shards)
    chosen = choose_dialogues(table, section["dialogues"], parameters["seed"])
    if not chosen:
        raise JobError(
            f"{shards.name} {shards.version}: no dialogue windows (strata dialogue/*); "
            "give the catalogue a source of dialogues"
        )
    folder = store.checkout(
        base, spec.folder / f"base-{rank.index}", only=["config.json", "model.safetensors"]
    )
    engine = start_engine(load_model(folder), section, parameters["distributed"]["zero_stage"])
    source = DialogueSource(ShardReader(store, shards), table, chosen, vocabulary.control, parameters["seed"])
    training = Training(
        spec,
        store,
        section,
        engine,
        source,
        steps=0,
        rank=rank,
        progress=Progress(spec.folder),
        stage="fine-tuning",
    )
    training.steps = math.ceil(len(chosen) * section["epochs"] / training.global_batch)
    extra = {"dialogues.json": _learned(chosen, table.window.tolist(), table.documents)}
    title = f"{parameters['name']}: fine-tuning on {len(chosen)} dialogues"
    return training, lambda: publish_checkpoint(training, vocabulary_manifest, title, extra)


def _learned(chosen: Sequence[int], windows: Sequence[int], documents: Sequence[Sequence[str]]) -> bytes:
    """`dialogues.json`: window ids and document ids of what was learned, in the same order."""
    of = dict(zip(windows, documents, strict=True))
    body = {"windows": list(chosen), "documents": [list(of[w]) for w in chosen]}
    return (json.dumps(body, indent=0) + "\n").encode()


def main(arguments: Sequence[str]) -> int:
    """Entry point of the agent and of its ranks alike."""
    from training.distributed import is_worker, run_ranks

    spec = JobSpec.read(Path(arguments[0]))
    if is_worker():
        from training.loop import run_rank

        return run_rank(spec, prepare)
    Progress(spec.folder)("starting", 0, 1, "ranks", "starting the ranks")
    return run_ranks(MODULE, spec.folder, spec.parameters["distributed"]["ranks"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
