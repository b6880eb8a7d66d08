"""checkpoints/pretrained and checkpoints/instructed: a partition per recipe, each made by a launched job."""

# Dagster reads the annotations of asset functions as objects: no postponed annotations in this file.
from typing import Any

import dagster as dg

from assets.materialize import check_specs, require
from assets.partitions import recipe_partitions
from assets.resources import LauncherResource, StoreResource
from resources.code_version import code_version
from resources.settings import Settings

STAGE = "checkpoints"
OWNERS = ["team:ml-engineering"]
TRAINING_CODE = (
    "training.distributed",
    "training.model",
    "training.checkpoint",
    "training.loop",
    "training.batches",
    "training.export",
    "training.figures",
    "training.shards",
    "training.vocabulary",
)


def stage_definitions(settings: Settings) -> dg.Definitions:
    """Both checkpoint assets."""
    from assets.checkpoints.describe import CHECKS

    partitions = recipe_partitions(settings)
    recipes = settings.recipes
    pretrain_code = code_version("training.pretrain", "training.stream", *TRAINING_CODE)
    finetune_code = code_version("training.finetune", *TRAINING_CODE)

    @dg.asset(
        key=[STAGE, "pretrained"],
        deps=[["tokens", "shards"], ["tokens", "vocabulary"], ["mixture", "plan"]],
        kinds={"pytorch", "deepspeed", "huggingface"},
        code_version=pretrain_code,
        check_specs=check_specs([STAGE, "pretrained"], CHECKS),
        description="A Llama trained from scratch on the stream of windows, under torchrun and DeepSpeed.",
        partitions_def=partitions,
        group_name=STAGE,
        owners=OWNERS,
        pool="gpu",
    )
    def pretrained(
        context: dg.AssetExecutionContext, store: StoreResource, launcher: LauncherResource
    ) -> dg.MaterializeResult:
        from training.recipes import load_recipe

        recipe = load_recipe(recipes / f"{context.partition_key}.yaml")
        inputs = ["tokens/shards", "tokens/vocabulary", "mixture/plan"]
        return _train(context, store, launcher, "pretrained", "pretrain", inputs, recipe, pretrain_code)

    @dg.asset(
        key=[STAGE, "instructed"],
        deps=[[STAGE, "pretrained"], ["tokens", "shards"], ["tokens", "vocabulary"]],
        kinds={"pytorch", "deepspeed", "huggingface"},
        code_version=finetune_code,
        check_specs=check_specs([STAGE, "instructed"], CHECKS),
        description="The pretrained model fine-tuned on dialogues, with loss on the assistant's tokens only.",
        partitions_def=partitions,
        group_name=STAGE,
        owners=OWNERS,
        pool="gpu",
    )
    def instructed(
        context: dg.AssetExecutionContext, store: StoreResource, launcher: LauncherResource
    ) -> dg.MaterializeResult:
        from training.recipes import load_recipe

        recipe = load_recipe(recipes / f"{context.partition_key}.yaml")
        inputs = [f"{STAGE}/pretrained/{recipe.name}", "tokens/shards", "tokens/vocabulary"]
        return _train(context, store, launcher, "instructed", "instruct", inputs, recipe, finetune_code)

    return dg.Definitions(assets=[pretrained, instructed])


PROGRAMS = {"pretrain": "training.pretrain", "instruct": "training.finetune"}


def _train(
    context: dg.AssetExecutionContext,
    store: StoreResource,
    launcher: LauncherResource,
    name: str,
    section: Any,
    inputs: list[str],
    recipe: Any,
    code: str,
) -> dg.MaterializeResult:
    from assets.checkpoints.describe import CHECKS, describe
    from assets.launch import launch

    opened = store.open()
    return launch(
        context,
        opened,
        launcher.open(),
        f"{STAGE}/{name}/{recipe.name}",
        program=PROGRAMS[section],
        inputs={name: require(context, opened, name) for name in inputs},
        parameters=recipe.parameters(section),
        code=code,
        describe=describe,
        checks=CHECKS,
    )
