"""mixture.yaml: target weights, floors, caps, repetition limit, held-out shares, each with a reason."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
Reason = Annotated[str, Field(min_length=10)]


class MixtureError(ValueError):
    """mixture.yaml cannot be used; the message names the file, the entry, the field and the mend."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class TokensPer(_Strict):
    """Estimated tokens of what a document holds."""

    text_character: Annotated[float, Field(gt=0)]
    dna_letter: Annotated[float, Field(gt=0)]
    protein_letter: Annotated[float, Field(gt=0)]
    image: Annotated[float, Field(gt=0)]
    audio_second: Annotated[float, Field(gt=0)]


class StratumRule(_Strict):
    """Weight of all strata that match a pattern, and bounds of each of them."""

    pattern: str
    weight: Annotated[float, Field(gt=0)]
    floor: Share = 0.0
    cap: Share = 1.0
    reason: Reason

    @model_validator(mode="after")
    def _bounds_agree(self) -> StratumRule:
        if self.floor > self.cap:
            raise ValueError(f"floor {self.floor} is above cap {self.cap}; lower the one or raise the other")
        return self


class HeldoutRule(_Strict):
    """Share of the documents of matching strata that training never sees."""

    pattern: str
    share: Annotated[float, Field(ge=0, lt=1)]
    minimum_documents: Annotated[int, Field(ge=1)]
    reason: Reason


class MixtureConfig(_Strict):
    """The whole of mixture.yaml."""

    seed: int
    exponent: Share
    exponent_reason: Reason
    max_repetitions: Annotated[float, Field(ge=1)]
    max_repetitions_reason: Reason
    tokens_per: TokensPer
    strata: Annotated[list[StratumRule], Field(min_length=1)]
    heldout: Annotated[list[HeldoutRule], Field(min_length=1)]

    def stratum_rule(self, stratum: str) -> StratumRule:
        """The first rule that matches; MixtureError names the stratum that none does."""
        return _first_match(self.strata, stratum, "strata")

    def heldout_rule(self, stratum: str) -> HeldoutRule:
        """As stratum_rule, for the held-out share."""
        return _first_match(self.heldout, stratum, "heldout")


Rule = TypeVar("Rule", StratumRule, HeldoutRule)


def _first_match(rules: list[Rule], stratum: str, field: str) -> Rule:
    for rule in rules:
        if fnmatchcase(stratum, rule.pattern):
            return rule
    raise MixtureError(
        f"field '{field}': no pattern matches the stratum {stratum!r}. Add one, or '*' at the end."
    )


def load_mixture(path: Path) -> MixtureConfig:
    """Read and check the file; MixtureError lists every problem with its field."""
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MixtureError(f"{path}: no such file. Set LUCA_MIXTURE to a mixture.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MixtureError(f"{path}: not YAML: {error}. Mend the syntax there.") from None
    try:
        return MixtureConfig.model_validate(_floats(data))
    except ValidationError as error:
        found = error.errors(include_url=False)
        fields = (".".join(map(str, e["loc"])) or "(the file)" for e in found)
        problems = (
            f"{path}: field '{field}': {e['msg']}. It is {e['input']!r}."
            for field, e in zip(fields, found, strict=True)
        )
        raise MixtureError("\n".join(problems)) from None


def _floats(value: Any, key: str = "") -> Any:
    """Whole numbers where fractions are meant: YAML writes 1 for 1.0, strict checking would refuse it."""
    if isinstance(value, dict):
        return {k: _floats(v, str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_floats(v) for v in value]
    if isinstance(value, int) and not isinstance(value, bool) and key not in {"seed", "minimum_documents"}:
        return float(value)
    return value
