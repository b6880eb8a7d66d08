"""Small documents of every modality, written or drawn here, that the token tests share."""

from __future__ import annotations

import functools
import io

import numpy as np
from numpy.typing import NDArray

from training.vocabulary import Vocabulary
from training.vocabulary_build import Corpus, Sizes, build_vocabulary

TEXTS = [
    "The last universal common ancestor left no fossil; we know it by what its descendants share.",
    "A cell keeps what it needs inside and lets the rest go. The membrane is where life says no.",
    "Life, said the philosopher, isn't a thing but a doing: it's what matter does when it must go on.",
    "On Mars the methane comes and goes; nobody knows why. 1,234 parts per trillion? 5 August 2012.",
    "In Tierra and in Avida, programs copied themselves, and some learned to copy less of themselves.",
    "La vida no es una sustancia, sino un proceso. El río cambia y sigue siendo el mismo río.",
    "生命は物質の流れの中に立つ形である。形は残り、物質は去る。",
    "الحياة نهر يجري، والخلية ضفة له.",
    "def replicate(genome):\n    return [mutate(base) for base in genome]\n\n\tprint('✓ 🧬')\r\n",
] * 3
DNA = ["".join(np.random.default_rng(n).choice(list("ACGT"), 700)) + "ACGTACGT" * 9 for n in range(3)]
PROTEIN = ["MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG", "MKTAYIAK" * 9]
MESSAGES = [
    {"role": "system", "content": "You answer questions about life."},
    {"role": "user", "content": "What is a cell?"},
    {"role": "assistant", "content": "A cell is the smallest thing that keeps itself alive.\nIt's small."},
]


def picture(seed: int, height: int = 60, width: int = 96) -> NDArray[np.uint8]:
    """Smooth colours with some noise, uint8[h, w, 3]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(rows / rng.uniform(3, 20) + columns / rng.uniform(3, 20)) for _ in range(3)], -1)
    return np.clip(127 + 90 * waves + rng.normal(0, 9, waves.shape), 0, 255).astype(np.uint8)


def sound(seed: int, seconds: float = 0.7, rate: int = 16_000) -> NDArray[np.float32]:
    """A gliding tone, float32[n]."""
    time = np.arange(int(seconds * rate)) / rate
    pitch = 400 + 300 * seed + 900 * time
    return (0.4 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """As a PNG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def flac(samples: NDArray[np.float32], rate: int = 16_000) -> bytes:
    """As a FLAC file."""
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="FLAC")
    return out.getvalue()


def build() -> Vocabulary:
    """A vocabulary learnt from the samples."""
    corpus = Corpus(
        text=TEXTS,
        dna=DNA,
        protein=PROTEIN,
        image=[picture(n) for n in range(3)],
        audio=[(sound(n), 16_000) for n in range(3)],
    )
    sizes = Sizes(text=700, dna=64, protein=48, image=70, audio=20)
    return build_vocabulary(corpus, sizes, image_side=14, codebook_sample=2000, seed=3)


@functools.cache
def vocabulary() -> Vocabulary:
    """`build()`, once."""
    return build()
