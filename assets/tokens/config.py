"""tokens.yaml, checked on load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

CONFIG = Path(__file__).with_name("tokens.yaml")
Positive = Annotated[int, Field(gt=0)]


class Strict(BaseModel):
    """No unknown fields, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class VocabularyConfig(Strict):
    """Sizes in ids, and how much is learnt from."""

    text: Annotated[int, Field(ge=256)]
    dna: Positive
    protein: Positive
    image: Annotated[int, Field(ge=1, le=4096)]
    audio: Annotated[int, Field(ge=1, le=4096)]
    image_side: Annotated[int, Field(ge=1, le=256)]
    learn_characters: Positive
    learn_characters_of_document: Positive
    codebook_sample: Positive
    seed: int


class WindowsConfig(Strict):
    """Lengths in tokens, shards in bytes."""

    length: Annotated[int, Field(ge=8, le=1_048_576)]
    overlap: Annotated[int, Field(ge=0)]
    shard_bytes: Annotated[int, Field(ge=16_384, le=1_073_741_824)]

    @model_validator(mode="after")
    def fits(self) -> WindowsConfig:
        """The overlap is at most half a window, and a shard holds four blocks of a window."""
        if self.overlap > self.length // 2:
            raise ValueError(f"overlap {self.overlap} is more than half of length {self.length}")
        if self.shard_bytes < 4 * (self.length * 4 + 2048):
            raise ValueError(f"shard_bytes {self.shard_bytes} is too small for windows of {self.length}")
        return self


class TokensConfig(Strict):
    """The whole file."""

    vocabulary: VocabularyConfig
    windows: WindowsConfig


def load_config(path: Path = CONFIG) -> TokensConfig:
    """Read and check; ValueError names the file and the field."""
    try:
        return TokensConfig.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not YAML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors(include_url=False)
        )
        raise ValueError(f"{path}: {problems}") from error
