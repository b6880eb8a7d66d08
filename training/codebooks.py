"""Images as patches and audio as frames, each quantised to the number of its nearest codebook vector.

Pure numpy (pictures are scaled by Pillow). Every vector is of uint8, and the k-means below keeps its
centroids at whole numbers, so that all sums are exact: the codes do not depend on the order in which a
BLAS or a number of threads adds them up.

An image is scaled, its aspect kept, to at most `side` x `side` patches of 8 x 8 RGB pixels. Audio is one
log-mel frame of 25 ms every 20 ms, at 16 kHz, in one channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Codes = NDArray[np.int64]

PATCH = 8
RATE = 16_000
FRAME = 400  # 25 ms
HOP = 320  # 20 ms
FFT = 512
BANDS = 64
FLOOR_DB = -80.0  # quieter than this is silence
LLOYD_ROUNDS = 25


@dataclass(frozen=True)
class ImageShape:
    """How a picture becomes rows of patches."""

    side: int  # most patches along an edge

    def settings(self) -> dict[str, Any]:
        """What vocabulary.json states of it."""
        return {**asdict(self), "patch_pixels": PATCH, "channels": "RGB"}


IMAGE_WIDTH = PATCH * PATCH * 3  # numbers in an image vector
AUDIO_WIDTH = BANDS

AUDIO_SETTINGS: dict[str, Any] = {
    "rate_hz": RATE,
    "frame_samples": FRAME,
    "hop_samples": HOP,
    "fft": FFT,
    "mel_bands": BANDS,
    "floor_db": FLOOR_DB,
}


def image_patches(pixels: Bytes, shape: ImageShape) -> Bytes:
    """uint8[h, w, 3] to uint8[rows, columns, 192]; ValueError if it is not an RGB picture."""
    from PIL import Image

    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or not pixels.size:
        raise ValueError(f"an image must be uint8[height, width, 3], this is {pixels.dtype}{pixels.shape}")
    height, width = pixels.shape[:2]
    scale = min(1.0, shape.side * PATCH / max(height, width))
    rows = max(1, min(shape.side, round(height * scale / PATCH)))
    columns = max(1, min(shape.side, round(width * scale / PATCH)))
    target = (columns * PATCH, rows * PATCH)
    scaled = np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.BOX))
    blocks = scaled.reshape(rows, PATCH, columns, PATCH, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(blocks).reshape(rows, columns, IMAGE_WIDTH)


def patches_to_pixels(patches: Bytes) -> Bytes:
    """uint8[rows, columns, 192] back to uint8[h, w, 3]."""
    rows, columns = patches.shape[:2]
    blocks = patches.reshape(rows, columns, PATCH, PATCH, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(blocks).reshape(rows * PATCH, columns * PATCH, 3)


def audio_frames(samples: NDArray[np.float32], rate: int) -> Bytes:
    """float[n] in -1..1 to log-mel frames uint8[frames, 64], 0 for -80 dB and less, 255 for 0 dB."""
    if samples.ndim != 1 or not samples.size or rate <= 0:
        raise ValueError(
            f"audio must be one channel with samples, this is {samples.shape} at {rate} Hz: mix it to mono"
        )
    if not np.isfinite(samples).all():
        raise ValueError("audio holds samples that are not finite")
    signal = resample(samples.astype(np.float64), rate)
    signal = np.pad(signal, (0, max(0, FRAME - len(signal))))
    frames = np.lib.stride_tricks.sliding_window_view(signal, FRAME)[::HOP]
    window, filters = np.hanning(FRAME), mel_filters()
    out = np.empty((len(frames), BANDS), np.uint8)
    for start in range(0, len(frames), 4096):  # bounds the memory of a long recording
        power = np.abs(np.fft.rfft(frames[start : start + 4096] * window, FFT)) ** 2
        level = 10 * np.log10(np.maximum((power / (FRAME / 4) ** 2) @ filters, 10 ** (FLOOR_DB / 10)))
        out[start : start + 4096] = np.clip(np.rint(255 * (level / -FLOOR_DB + 1)), 0, 255)
    return out


def resample(samples: NDArray[np.float64], rate: int) -> NDArray[np.float64]:
    """To 16 kHz by cutting or padding the spectrum: no aliasing, one transform."""
    if rate == RATE:
        return samples
    count = max(1, round(len(samples) * RATE / rate))
    return np.asarray(np.fft.irfft(np.fft.rfft(samples), count) * (count / len(samples)))


def mel_filters() -> NDArray[np.float64]:
    """float[257, 64]: triangles, evenly spaced on the mel scale 2595 log10(1 + f/700) up to 8 kHz."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    frequency = np.fft.rfftfreq(FFT, 1 / RATE)[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequency - low) / (middle - low), (high - frequency) / (high - middle)
    filters = np.maximum(0, np.minimum(rising, falling))
    # The lowest triangles are narrower than a bin: give each the bin nearest to its middle.
    nearest = np.abs(frequency - middle).argmin(axis=0)
    empty = filters.sum(axis=0) == 0
    filters[nearest[empty], np.flatnonzero(empty)] = 1.0
    return np.asarray(filters)


def quantise(vectors: Bytes, codebook: Bytes) -> Codes:
    """int64[n]: for each uint8[n, d] the nearest row of uint8[k, d] (squared distance; ties: the first)."""
    centres = codebook.astype(np.float64)
    norms = (centres**2).sum(axis=1)
    out = np.empty(len(vectors), np.int64)
    for start in range(0, len(vectors), 8192):
        block = vectors[start : start + 8192].astype(np.float64)
        out[start : start + 8192] = (norms - 2 * (block @ centres.T)).argmin(axis=1)
    return out


def learn_codebook(vectors: Bytes, size: int, seed: int) -> Bytes:
    """k-means (Lloyd, k-means++ start) over uint8[n, d]: uint8[size, d], rows in lexicographic order.

    With fewer distinct vectors than `size` the rest of the rows are zero. Exact: whole-number centroids,
    sums below 2**53.
    """
    width = vectors.shape[1]
    distinct = np.unique(vectors, axis=0)
    if len(distinct) <= size:
        centres = distinct
    else:
        centres = start_centres(distinct, size, np.random.default_rng(seed))
        for _ in range(LLOYD_ROUNDS):
            moved = mean_of_members(vectors, quantise(vectors, centres), centres)
            if np.array_equal(moved, centres):
                break
            centres = moved
        centres = np.unique(centres, axis=0)
    padding = np.zeros((size - len(centres), width), np.uint8)
    filled: Bytes = np.concatenate([centres, padding]).astype(np.uint8)
    return filled


def start_centres(distinct: Bytes, size: int, rng: np.random.Generator) -> Bytes:
    """k-means++: each next centre drawn with a chance proportional to its squared distance so far."""
    points = distinct.astype(np.float64)
    squares = (points**2).sum(axis=1)
    chosen = [int(rng.integers(len(points)))]
    distance = np.full(len(points), np.inf)
    for _ in range(size - 1):
        last = points[chosen[-1]]
        distance = np.minimum(distance, squares - 2 * (points @ last) + (last @ last))
        cumulative = np.cumsum(np.maximum(distance, 0))
        chosen.append(
            min(int(np.searchsorted(cumulative, rng.random() * cumulative[-1], "right")), len(points) - 1)
        )
    return distinct[np.unique(chosen)]


def mean_of_members(vectors: Bytes, codes: Codes, centres: Bytes) -> Bytes:
    """Each centre moved to the rounded mean of its members; a centre without members stays."""
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=len(centres))
    present = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts[present])[:-1]])
    sums = np.add.reduceat(vectors[order].astype(np.int64), starts, axis=0)
    moved = centres.copy()
    moved[present] = (2 * sums + counts[present, None]) // (2 * counts[present, None])
    return moved


def sample_vectors(parts: Iterable[Bytes], limit: int, width: int, seed: int) -> Bytes:
    """At most `limit` rows of the uint8[n, width] parts, each with the same chance (reservoir)."""
    rng = np.random.default_rng(seed)
    reservoir: list[Bytes] = []
    keys: list[NDArray[np.float64]] = []
    held = 0
    for part in parts:
        reservoir.append(part)
        keys.append(rng.random(len(part)))
        held += len(part)
        if held > 2 * limit:
            reservoir, keys = keep_lowest(reservoir, keys, limit)
            held = limit
    if not reservoir:
        return np.zeros((0, width), np.uint8)
    return keep_lowest(reservoir, keys, limit)[0][0]


def keep_lowest(
    parts: list[Bytes], keys: list[NDArray[np.float64]], limit: int
) -> tuple[list[Bytes], list[NDArray[np.float64]]]:
    """The `limit` rows of lowest key, in their order."""
    rows, key = np.concatenate(parts), np.concatenate(keys)
    kept = np.sort(np.argsort(key, kind="stable")[:limit])
    return [rows[kept]], [key[kept]]
