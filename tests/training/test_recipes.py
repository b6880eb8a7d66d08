"""Recipes: what is refused, and how the refusal reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from resources.settings import PROJECT
from training.recipes import RecipeError, load_recipe, load_recipes

TINY = PROJECT / "training" / "recipes" / "tiny.yaml"


def changed(tmp_path: Path, **changes: Any) -> Path:
    """The tiny recipe with `section__field=value` changed; None removes the field."""
    raw = yaml.safe_load(TINY.read_text())
    for path, value in changes.items():
        *sections, field = path.split("__")
        part = raw
        for section in sections:
            part = part[section]
        if value is None:
            del part[field]
        else:
            part[field] = value
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


def test_every_shipped_recipe_loads() -> None:
    recipes = load_recipes(TINY.parent)
    assert recipes["tiny"].name == "tiny"
    assert recipes["tiny"].distributed.ranks == 2


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"model__hidden_size": 250}, "model", "not divisible by heads"),
        ({"model__kv_heads": 3}, "model", "not divisible by kv_heads"),
        ({"model__heads": 256, "model__kv_heads": 256}, "model", "rotary"),
        ({"pretrain__warmup": 10_000}, "pretrain", "below steps"),
        ({"serve__max_model_len": 4096}, "recipe", "above model.max_positions"),
        ({"serve__max_tokens": 512}, "recipe", "no room"),
        ({"pretrain__stepz": 3}, "pretrain.stepz", "no such field"),
        ({"pretrain__steps": None}, "pretrain.steps", "missing"),
        ({"pretrain__steps": "many"}, "pretrain.steps", "integer"),
        ({"pretrain__learning_rate": float("nan")}, "pretrain.learning_rate", "finite"),
        ({"name": "Tiny One"}, "recipe", "name"),
        ({"name": "other"}, "name", "must equal the file's name"),
    ],
)
def test_refusals_name_file_and_field(
    tmp_path: Path, changes: dict[str, Any], field: str, words: str
) -> None:
    file = changed(tmp_path, **changes)
    with pytest.raises(RecipeError) as error:
        load_recipe(file)
    assert str(error.value).startswith(f"{file}: {field}")
    assert words in str(error.value)


def test_missing_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="holds tiny"):
        load_recipe(TINY.parent / "huge.yaml")
    file = tmp_path / "bad.yaml"
    file.write_text("model: [")
    with pytest.raises(RecipeError, match=r"bad\.yaml: not readable as YAML"):
        load_recipe(file)
    with pytest.raises(RecipeError, match="no recipe"):
        load_recipes(tmp_path / "nowhere")


def test_a_change_of_serving_changes_no_training(tmp_path: Path) -> None:
    before, after = load_recipe(TINY), load_recipe(changed(tmp_path, serve__alias="other"))
    for program in ("pretrain", "instruct", "evaluate"):
        assert before.parameters(program) == after.parameters(program)  # type: ignore[arg-type]
    assert before.parameters("serve") != after.parameters("serve")
