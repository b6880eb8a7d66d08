"""The tokens stage: one vocabulary, windows in shards for training and held out, and the trace index."""

# Dagster reads the annotations of asset functions as objects: no postponed annotations in this file.
from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

from assets.materialize import check_specs, publish, require
from assets.resources import StoreResource
from assets.tokens.checks import SHARD_CHECKS, TRACE_CHECKS, VOCABULARY_CHECKS
from assets.tokens.planned import PLAN
from resources.code_version import code_version
from resources.settings import Settings

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import ArtifactWriter, Store

STAGE = "tokens"
ENCODING = ("training.vocabulary", "training.alphabets", "training.codebooks", "training.encode")
VOCABULARY_CODE = code_version(
    *ENCODING,
    "training.vocabulary_build",
    "training.bpe",
    "training.hf_tokenizer",
    "assets.tokens.corpus",
    "assets.tokens.planned",
)
SHARDS_CODE = code_version(
    *ENCODING, "training.windows", "training.shards", "assets.tokens.shard_build", "assets.tokens.planned"
)
TRACE_CODE = code_version(
    *ENCODING, "training.trace_build", "training.suffix_array", "training.shards", "assets.tokens.planned"
)
UPSTREAM = [dg.AssetKey(["documents", "unique"]), dg.AssetKey(["mixture", "plan"])]
OWNERS = ["team:ml-engineering"]


def key(name: str) -> dg.AssetKey:
    """The asset key of this stage's `name`."""
    return dg.AssetKey([STAGE, name])


def stage_definitions(settings: Settings) -> dg.Definitions:
    """The stage's assets, each with its blocking checks."""
    return dg.Definitions(assets=[vocabulary, shards, heldout, trace_index])


@dg.asset(
    key=key("vocabulary"),
    group_name=STAGE,
    owners=OWNERS,
    kinds={"python", "huggingface"},
    deps=UPSTREAM,
    code_version=VOCABULARY_CODE,
    check_specs=check_specs([STAGE, "vocabulary"], VOCABULARY_CHECKS),
    description=(
        "One vocabulary for text, DNA, protein, images and audio, learnt from the planned training documents "
        "alone; written for tiktoken and, id for id, for Hugging Face."
    ),
)
def vocabulary(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """`tokens/vocabulary`."""
    from assets.tokens.config import load_config
    from assets.tokens.corpus import TrainingCorpus
    from assets.tokens.describe import describe_vocabulary
    from assets.tokens.planned import PlannedDocuments
    from training.vocabulary_build import Sizes, build_vocabulary, vocabulary_files

    opened = store.open()
    config = load_config().vocabulary
    plan = require(context, opened, PLAN)
    documents = PlannedDocuments.of(opened, plan, "train")

    def build(writer: "ArtifactWriter") -> None:
        sizes = Sizes(config.text, config.dna, config.protein, config.image, config.audio)
        built = build_vocabulary(
            TrainingCorpus(documents, config).corpus(),
            sizes,
            image_side=config.image_side,
            codebook_sample=config.codebook_sample,
            seed=config.seed,
        )
        for name, content in vocabulary_files(built).items():
            writer.add(name, content)
        writer.figures["tokens"] = built.size

    return publish(
        context,
        opened,
        "tokens/vocabulary",
        inputs=inputs_of(plan, documents.tables),
        parameters=config.model_dump(),
        code=VOCABULARY_CODE,
        build=build,
        describe=describe_vocabulary,
        checks=VOCABULARY_CHECKS,
    )


@dg.asset(
    key=key("shards"),
    group_name=STAGE,
    owners=OWNERS,
    kinds={"python", "parquet"},
    deps=[key("vocabulary"), *UPSTREAM],
    code_version=SHARDS_CODE,
    check_specs=check_specs([STAGE, "shards"], SHARD_CHECKS),
    description=(
        "The training documents as overlapping windows of token ids, in WebDataset shards, with an index "
        "that names every window's shard, stratum and documents."
    ),
)
def shards(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """`tokens/shards`."""
    return publish_shards(context, store.open(), "tokens/shards", "train")


@dg.asset(
    key=key("heldout"),
    group_name=STAGE,
    owners=OWNERS,
    kinds={"python", "parquet"},
    deps=[key("vocabulary"), *UPSTREAM],
    code_version=SHARDS_CODE,
    check_specs=check_specs([STAGE, "heldout"], SHARD_CHECKS),
    description="The held-out documents in the same form as the shards: evaluated on, never trained on.",
)
def heldout(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """`tokens/heldout`."""
    return publish_shards(context, store.open(), "tokens/heldout", "heldout")


def publish_shards(
    context: dg.AssetExecutionContext, store: "Store", name: str, split: str
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Shards of one split of the plan."""
    from assets.tokens.config import load_config
    from assets.tokens.describe import describe_shards
    from assets.tokens.planned import PlannedDocuments
    from assets.tokens.shard_build import ShardBuild
    from training.vocabulary import Vocabulary

    config = load_config().windows
    plan = require(context, store, PLAN)
    made = require(context, store, "tokens/vocabulary")
    documents = PlannedDocuments.of(store, plan, split)

    def build(writer: "ArtifactWriter") -> None:
        encoder = Vocabulary.from_store(store, made)
        ShardBuild(documents, encoder, config, context.log.info).write(writer)

    return publish(
        context,
        store,
        name,
        inputs={**inputs_of(plan, documents.tables), "vocabulary": made},
        parameters={**config.model_dump(), "split": split},
        code=SHARDS_CODE,
        build=build,
        describe=describe_shards,
        checks=SHARD_CHECKS,
    )


@dg.asset(
    key=key("trace_index"),
    group_name=STAGE,
    owners=OWNERS,
    kinds={"python", "parquet"},
    deps=[key("vocabulary"), key("shards"), *UPSTREAM],
    code_version=TRACE_CODE,
    check_specs=check_specs([STAGE, "trace_index"], TRACE_CHECKS),
    description=(
        "A suffix array over the text of every trained document: from any passage to the windows, documents, "
        "source items and licences in which it stands."
    ),
)
def trace_index(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """`tokens/trace_index`."""
    from assets.tokens.describe import describe_trace_index
    from assets.tokens.planned import PlannedDocuments
    from training.shards import ShardReader
    from training.trace_build import FACTS, build_trace_index
    from training.vocabulary import Vocabulary

    opened = store.open()
    sharded = require(context, opened, "tokens/shards")
    # What the shards were made from, which may be older than HEAD while a refresh is on its way.
    plan = input_manifest(opened, sharded, PLAN)
    made = input_manifest(opened, sharded, "tokens/vocabulary")
    documents = PlannedDocuments.of(opened, plan, "train")

    def build(writer: "ArtifactWriter") -> None:
        build_trace_index(
            writer,
            documents.all_rows([*FACTS, "text", "messages"]),
            Vocabulary.from_store(opened, made),
            ShardReader(opened, sharded),
        )

    return publish(
        context,
        opened,
        "tokens/trace_index",
        inputs={**inputs_of(plan, documents.tables), "vocabulary": made, "shards": sharded},
        parameters={},
        code=TRACE_CODE,
        build=build,
        describe=describe_trace_index,
        checks=TRACE_CHECKS,
    )


def inputs_of(plan: "Manifest", tables: "Mapping[str, Manifest]") -> "dict[str, Manifest]":
    """The plan and the document tables that it draws on, as `publish` wants them."""
    return {"plan": plan, **{f"documents/{source}": manifest for source, manifest in tables.items()}}


def input_manifest(store: "Store", manifest: "Manifest", name: str) -> "Manifest":
    """An input of an artifact; dg.Failure if the store has lost it."""
    found = store.get(name, manifest.inputs[name])
    if found is None:
        raise dg.Failure(
            f"{manifest.name} {manifest.version} was made from {name} {manifest.inputs[name]}, which is not "
            f"in {store.uri}: materialize {name} and {manifest.name} again.",
            allow_retries=False,
        )
    return found
