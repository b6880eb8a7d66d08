"""Make a vocabulary from documents: learn what each modality needs, lay the ids out, write the files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.alphabets import (
    BLOCKS,
    CONTROL,
    LETTERS,
    LIFT,
    MOST_CODES,
    PATTERN,
    PIECE_LETTERS,
    TEXT_PATTERN,
    UNKNOWN,
    glue_tokens,
    without_lifted,
)
from training.bpe import letter_tokens, text_tokens
from training.codebooks import (
    AUDIO_SETTINGS,
    AUDIO_WIDTH,
    IMAGE_WIDTH,
    ImageShape,
    audio_frames,
    image_patches,
    learn_codebook,
    sample_vectors,
)
from training.hf_tokenizer import tokenizer_config_json, tokenizer_json
from training.vocabulary import CODEBOOKS_FILE, JSON_FILE, RANKS_FILE, Vocabulary, format_ranks


@dataclass(frozen=True)
class Sizes:
    """How many ids each modality may take. `text` counts the 256 bytes; dna and protein their letters."""

    text: int
    dna: int
    protein: int
    image: int
    audio: int

    def __post_init__(self) -> None:
        floors = {
            "text": 256,
            "dna": len(LETTERS["dna"]),
            "protein": len(LETTERS["protein"]),
            "image": 1,
            "audio": 1,
        }
        for name, floor in floors.items():
            if getattr(self, name) < floor:
                raise ValueError(
                    f"vocabulary size of {name} must be at least {floor}, it is {getattr(self, name)}"
                )
        for name in ("image", "audio"):
            if getattr(self, name) > MOST_CODES:
                raise ValueError(f"vocabulary size of {name} must be at most {MOST_CODES}")


@dataclass
class Corpus:
    """What to learn from: the iterables are read once. Images uint8[h, w, 3]; audio (float32[n], rate)."""

    text: Iterable[str] = ()
    dna: Iterable[str] = ()
    protein: Iterable[str] = ()
    image: Iterable[NDArray[np.uint8]] = ()
    audio: Iterable[tuple[NDArray[np.float32], int]] = field(default_factory=tuple)


def build_vocabulary(
    corpus: Corpus, sizes: Sizes, *, image_side: int, codebook_sample: int, seed: int
) -> Vocabulary:
    """Learn merges and codebooks, and lay out the ids. The same corpus and settings give the same one."""
    shape = ImageShape(image_side)
    text = text_tokens(map(without_lifted, corpus.text), sizes.text - 256, TEXT_PATTERN)
    letters: dict[str, list[str]] = {}
    for kind, sequences in (("dna", corpus.dna), ("protein", corpus.protein)):
        room = getattr(sizes, kind) - len(LETTERS[kind])
        known = (UNKNOWN[kind].sub("", s.upper()) for s in sequences)
        learnt = letter_tokens(known, LETTERS[kind], room, PIECE_LETTERS)
        letters[kind] = [*LETTERS[kind], *learnt]
    patches = sample_vectors(patch_rows(corpus.image, shape), codebook_sample, IMAGE_WIDTH, seed)
    frames = sample_vectors((audio_frames(*a) for a in corpus.audio), codebook_sample, AUDIO_WIDTH, seed)
    ranks, ranges = lay_out(text, letters, {"image": sizes.image, "audio": sizes.audio})
    first = len(ranks)
    return Vocabulary(
        ranks=ranks,
        ranges={**ranges, "control": range(first, first + len(CONTROL))},
        control={name: first + place for place, name in enumerate(CONTROL)},
        image_codebook=learn_codebook(patches, sizes.image, seed),
        audio_codebook=learn_codebook(frames, sizes.audio, seed),
        image_shape=shape,
    )


def patch_rows(images: Iterable[NDArray[np.uint8]], shape: ImageShape) -> Iterator[NDArray[np.uint8]]:
    """uint8[patches, 192] of each image."""
    for pixels in images:
        yield image_patches(pixels, shape).reshape(-1, IMAGE_WIDTH)


def lay_out(
    text: Sequence[bytes], letters: dict[str, list[str]], codes: dict[str, int]
) -> tuple[dict[bytes, int], dict[str, range]]:
    """Ranks and ranges. Glue comes before text: it must join before any merge learnt over text can act."""
    sizes = {**{kind: len(LETTERS[kind]) for kind in letters}, **codes}
    groups: dict[str, list[bytes]] = {
        "byte": [bytes([value]) for value in range(256)],
        "glue": glue_tokens(sizes),
        "text": list(text),
        **{
            kind: [token.translate(LIFT[kind]).encode() for token in tokens]
            for kind, tokens in letters.items()
        },
        **{
            kind: [BLOCKS[kind].character(place).encode() for place in range(size)]
            for kind, size in codes.items()
        },
    }
    ranks: dict[bytes, int] = {}
    ranges: dict[str, range] = {}
    for name, tokens in groups.items():
        ranges[name] = range(len(ranks), len(ranks) + len(tokens))
        for token in tokens:
            ranks.setdefault(token, len(ranks))
        if len(ranks) != ranges[name].stop:
            raise ValueError(f"the tokens of {name} are not all distinct")
    return ranks, ranges


def vocabulary_files(vocabulary: Vocabulary) -> dict[str, bytes]:
    """The artifact's files by name; the same vocabulary gives the same bytes."""
    codebooks = io.BytesIO()
    np.savez(codebooks, image=vocabulary.image_codebook, audio=vocabulary.audio_codebook)
    return {
        JSON_FILE: (json.dumps(describe(vocabulary), indent=1) + "\n").encode(),
        RANKS_FILE: format_ranks(vocabulary.ranks),
        CODEBOOKS_FILE: codebooks.getvalue(),
        "tokenizer.json": tokenizer_json(vocabulary),
        "tokenizer_config.json": tokenizer_config_json(),
    }


def describe(vocabulary: Vocabulary) -> dict[str, Any]:
    """The content of vocabulary.json."""
    return {
        "size": vocabulary.size,
        "pattern": PATTERN,
        "ranges": {name: [ids.start, ids.stop] for name, ids in vocabulary.ranges.items()},
        "control": dict(vocabulary.control),
        "letters": {
            kind: {"letters": letters, "first_code_point": BLOCKS[kind].start, "piece": PIECE_LETTERS}
            for kind, letters in LETTERS.items()
        },
        "image": {
            "codes": len(vocabulary.image_codebook),
            "first_code_point": BLOCKS["image"].start,
            **vocabulary.image_shape.settings(),
        },
        "audio": {
            "codes": len(vocabulary.audio_codebook),
            "first_code_point": BLOCKS["audio"].start,
            **AUDIO_SETTINGS,
        },
    }
