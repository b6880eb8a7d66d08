"""Pre-training: `python -m training.pretrain JOBDIR`.

Builds the recipe's Llama and learns the windows of `tokens/shards` in the stream's order. Publishes
`checkpoints/pretrained/<recipe>`; on the way, partial states from which a killed run goes on to the bit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from training.job import JobError, JobSpec, Progress

if TYPE_CHECKING:
    from resources.store import Store
    from training.distributed import Rank
    from training.loop import Training

MODULE = "training.pretrain"


def prepare(spec: JobSpec, store: Store, rank: Rank) -> tuple[Training, Callable[[], None]]:
    """The training and the function that publishes it. JobError if the windows do not fit the model."""
    from training.batches import StreamSource, WindowTable, stratum_weights
    from training.export import publish_checkpoint
    from training.loop import Training, start_engine
    from training.model import build_model, model_config
    from training.shards import ShardReader
    from training.stream import Stream
    from training.vocabulary import Vocabulary

    parameters = spec.parameters
    section, seed = parameters["pretrain"], parameters["seed"]
    vocabulary_manifest = spec.input(store, "tokens/vocabulary")
    shards = spec.input(store, "tokens/shards")
    vocabulary = Vocabulary.from_store(store, vocabulary_manifest)
    table = WindowTable.read(store, shards)
    longest = int(table.length.max(initial=0))
    if longest > parameters["model"]["max_positions"]:
        raise JobError(
            f"{shards.name} {shards.version}: windows of {longest} tokens, but {parameters['name']} has "
            f"model.max_positions {parameters['model']['max_positions']}: raise it, or shorten the windows"
        )
    config = model_config(parameters["model"], vocabulary.size, vocabulary.control)
    engine = start_engine(build_model(config, seed), section, parameters["distributed"]["zero_stage"])
    reader = ShardReader(store, shards)
    weights = stratum_weights(store, spec.input(store, "mixture/plan"))
    stream = Stream.from_artifact(reader.index, weights, seed)
    source = StreamSource(reader, stream, table, vocabulary.control["<|pad|>"])
    training = Training(
        spec,
        store,
        section,
        engine,
        source,
        steps=section["steps"],
        rank=rank,
        progress=Progress(spec.folder),
        stage="pre-training",
    )
    title = f"{parameters['name']}: pre-training, {section['steps']} steps"
    return training, lambda: publish_checkpoint(training, vocabulary_manifest, title)


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
