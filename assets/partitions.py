"""Recipes as partitions: one training recipe, one partition of checkpoints, evaluations and endpoint."""

from __future__ import annotations

import dagster as dg

from resources.settings import Settings


def recipe_names(settings: Settings) -> list[str]:
    """Names of the recipe files, sorted; ValueError that names the folder if there is none."""
    names = sorted(file.stem for file in settings.recipes.glob("*.yaml"))
    if not names:
        raise ValueError(
            f"{settings.recipes}: no recipe (*.yaml) here. Set LUCA_RECIPES to a folder of recipes."
        )
    return names


def recipe_partitions(settings: Settings) -> dg.StaticPartitionsDefinition:
    """A partition per recipe file."""
    return dg.StaticPartitionsDefinition(recipe_names(settings))
