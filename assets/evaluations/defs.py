"""evaluations/card: a partition per recipe, made by a launched job from both of the recipe's checkpoints."""

# Dagster reads the annotations of asset functions as objects: no postponed annotations in this file.
import dagster as dg

from assets.materialize import check_specs, require
from assets.partitions import recipe_partitions
from assets.resources import LauncherResource, StoreResource
from resources.code_version import code_version
from resources.settings import Settings

STAGE = "evaluations"
KEY = [STAGE, "card"]
EVALUATION_CODE = (
    "training.evaluate",
    "training.perplexity",
    "training.probes",
    "training.card",
    "training.card_plots",
    "training.batches",
    "training.model",
    "training.figures",
    "training.shards",
    "training.vocabulary",
)


def stage_definitions(settings: Settings) -> dg.Definitions:
    """The card."""
    from assets.evaluations.describe import CHECKS

    recipes = settings.recipes
    code = code_version(*EVALUATION_CODE)

    @dg.asset(
        key=KEY,
        deps=[
            ["checkpoints", "pretrained"],
            ["checkpoints", "instructed"],
            ["tokens", "shards"],
            ["tokens", "heldout"],
            ["tokens", "vocabulary"],
            ["mixture", "plan"],
        ],
        partitions_def=recipe_partitions(settings),
        group_name=STAGE,
        kinds={"pytorch", "html"},
        owners=["team:ml-engineering"],
        pool="gpu",
        code_version=code,
        check_specs=check_specs(KEY, CHECKS),
        description="Held-out perplexity, probes before and after fine-tuning, and the gate, on a card.",
    )
    def card(
        context: dg.AssetExecutionContext, store: StoreResource, launcher: LauncherResource
    ) -> dg.MaterializeResult:
        from assets.evaluations.describe import CHECKS, describe
        from assets.launch import launch
        from training.recipes import load_recipe

        opened = store.open()
        recipe = load_recipe(recipes / f"{context.partition_key}.yaml")
        names = (
            f"checkpoints/pretrained/{recipe.name}",
            f"checkpoints/instructed/{recipe.name}",
            "tokens/shards",
            "tokens/heldout",
            "tokens/vocabulary",
            "mixture/plan",
        )
        return launch(
            context,
            opened,
            launcher.open(),
            f"{STAGE}/card/{recipe.name}",
            program="training.evaluate",
            inputs={name: require(context, opened, name) for name in names},
            parameters=recipe.parameters("evaluate"),
            code=code,
            describe=describe,
            checks=CHECKS,
        )

    return dg.Definitions(assets=[card])
