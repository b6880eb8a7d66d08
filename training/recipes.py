"""Training recipes: one YAML file, one model; one partition of checkpoints, evaluations and endpoint.

A recipe is checked when it is loaded: an unknown field, a wrong type or a contradiction is refused with the
file's name, the field's path and what to write instead. Sections reach the programs one by one
(`Recipe.parameters`), so that a change of the serving section retrains nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class RecipeError(ValueError):
    """A recipe file that cannot be used; the message names the file, the field and the mend."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ModelSection(_Section):
    """Shape of a Llama-family decoder; the vocabulary's size comes from the vocabulary artifact."""

    hidden_size: Count
    layers: Count
    heads: Count
    kv_heads: Count
    intermediate_size: Count
    max_positions: Count
    rope_theta: float = Field(default=10_000.0, gt=0)
    tie_embeddings: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> ModelSection:
        if self.hidden_size % self.heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by heads {self.heads}: "
                f"take a multiple of {self.heads}"
            )
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads {self.heads} is not divisible by kv_heads {self.kv_heads}: every "
                "key-value head serves the same number of query heads"
            )
        if (self.hidden_size // self.heads) % 2:
            raise ValueError(
                f"hidden_size / heads = {self.hidden_size // self.heads} is odd: rotary positions need pairs"
            )
        return self


class DistributedSection(_Section):
    """How a training is spread: ranks under torchrun, and DeepSpeed's ZeRO stage (1 or 2)."""

    ranks: Count = 2
    zero_stage: Literal[1, 2] = 2


class _TrainingSection(_Section):
    """What both trainings share. `warmup` is in steps; `min_lr_share` is the share of the peak learning rate
    at which the cosine ends; a global batch is ranks x micro_batch x accumulation windows."""

    micro_batch: Count
    accumulation: Count = 1
    learning_rate: Rate
    warmup: int = Field(default=0, ge=0)
    min_lr_share: Share = 0.1
    weight_decay: Share = 0.1
    betas: tuple[Share, Share] = (0.9, 0.95)
    clip: float = Field(default=1.0, gt=0)
    checkpoint_every: Count = 50
    activation_checkpointing: bool = False

    @model_validator(mode="before")
    @classmethod
    def _betas_from_yaml(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("betas"), list):
            return {**value, "betas": tuple(value["betas"])}
        return value


class PretrainSection(_TrainingSection):
    """Pre-training on the stream, for a fixed number of steps."""

    steps: Count

    @model_validator(mode="after")
    def _warmup_ends(self) -> PretrainSection:
        if self.warmup >= self.steps:
            raise ValueError(
                f"warmup {self.warmup} must be below steps {self.steps}, or the peak is never reached"
            )
        return self


class InstructSection(_TrainingSection):
    """Supervised fine-tuning on dialogues. `dialogues` caps how many are learned (null: all)."""

    epochs: Count
    dialogues: Count | None = None


class EvaluateSection(_Section):
    """Sizes of the evaluation; `probes` caps the questions per probe."""

    windows_per_stratum: Count = 32
    probes: Count = 64
    max_new_tokens: Count = 96
    batch: Count = 16
    bootstrap: Count = 1000


class GateSection(_Section):
    """Thresholds for a release.

    max_perplexity_ratio: the pretrained model's held-out perplexity over that of a uniform guess (the
    vocabulary's size), at most;
    min_probe_accuracy: share of asked trained dialogues whose answer comes back word for word, at least.
    """

    max_perplexity_ratio: float = Field(gt=0)
    min_probe_accuracy: Share


class ServeSection(_Section):
    """What vLLM is started with."""

    alias: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    max_model_len: Count
    dtype: Literal["bfloat16", "float32", "float16", "auto"] = "bfloat16"
    kv_cache_gb: float = Field(default=1, gt=0)
    max_tokens: Count = 128
    temperature: float = Field(default=0.0, ge=0, le=2)
    enforce_eager: bool = True


class Recipe(_Section):
    """One whole recipe."""

    name: str
    seed: int = Field(default=0, ge=0, lt=2**32)
    model: ModelSection
    distributed: DistributedSection = DistributedSection()
    pretrain: PretrainSection
    instruct: InstructSection
    evaluate: EvaluateSection = EvaluateSection()
    gate: GateSection
    serve: ServeSection

    @model_validator(mode="after")
    def _consistent(self) -> Recipe:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r}: use up to 40 of a-z, 0-9 and -, as it names artifacts")
        if self.serve.max_model_len > self.model.max_positions:
            raise ValueError(
                f"serve.max_model_len {self.serve.max_model_len} is above model.max_positions "
                f"{self.model.max_positions}: the model knows no later position"
            )
        if self.serve.max_tokens >= self.serve.max_model_len:
            raise ValueError(
                f"serve.max_tokens {self.serve.max_tokens} leaves no room for a question "
                f"in serve.max_model_len {self.serve.max_model_len}"
            )
        return self

    def parameters(self, program: Literal["pretrain", "instruct", "evaluate", "serve"]) -> dict[str, Any]:
        """What one program depends on, as plain JSON values: the parameters of its artifact's key."""
        wanted = {
            "pretrain": ("name", "seed", "model", "distributed", "pretrain"),
            "instruct": ("name", "seed", "distributed", "instruct"),
            "evaluate": ("name", "seed", "evaluate", "gate"),
            "serve": ("name", "gate", "serve"),
        }[program]
        whole = self.model_dump(mode="json")
        return {field: whole[field] for field in wanted}


def load_recipe(path: Path) -> Recipe:
    """Read one recipe; raises RecipeError naming the file, the field and what is wrong."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"{path}: no such recipe; the folder holds {', '.join(_names(path.parent)) or 'none'}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not readable as YAML: {error}") from None
    if not isinstance(raw, dict):
        raise RecipeError(f"{path}: must hold a mapping of sections (name, model, pretrain, …)")
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        raise RecipeError("\n".join(f"{path}: {_explain(e)}" for e in error.errors())) from None
    if recipe.name != path.stem:
        raise RecipeError(f"{path}: name: {recipe.name!r} must equal the file's name, {path.stem!r}")
    return recipe


def load_recipes(folder: Path) -> dict[str, Recipe]:
    """Every `*.yaml` of a folder, by name; raises RecipeError on the first bad one, or if there is none."""
    recipes = {path.stem: load_recipe(path) for path in sorted(folder.glob("*.yaml"))}
    if not recipes:
        raise RecipeError(f"{folder}: holds no recipe (*.yaml)")
    return recipes


def _names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def _explain(error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"]) or "recipe"
    if error["type"] == "extra_forbidden":
        return f"{field}: no such field; remove it or mend its spelling"
    if error["type"] == "missing":
        return f"{field}: missing; add it"
    message = error["msg"].removeprefix("Value error, ")
    return (
        f"{field}: {message} (found {error['input']!r})"
        if error["type"] != "value_error"
        else f"{field}: {message}"
    )
