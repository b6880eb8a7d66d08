"""From a row of documents.parquet to token ids: one place that knows how each modality is read."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.vocabulary import Vocabulary

if TYPE_CHECKING:
    from PIL.Image import Image

Payload = Callable[[str], bytes]  # SHA-256 -> bytes
MOST_PIXELS = 64_000_000  # a larger picture is a mistake or a bomb


class Unencodable(ValueError):
    """A document that gives no tokens: `reason` is a short name to count by, the message the detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def encode_document(vocabulary: Vocabulary, row: Mapping[str, Any], payload: Payload) -> list[int]:
    """Ids of a document: a dialogue's messages, else by modality; Unencodable with the reason otherwise.

    `row` needs kind, modality, text, messages, payload_sha256 (docs/architecture.md, Tables).
    """
    modality = row["modality"]
    try:
        if row["kind"] == "dialogue":
            ids = vocabulary.encode_messages(row["messages"] or [])
        elif modality == "text":
            ids = vocabulary.encode_text(row["text"] or "")
        elif modality in ("dna", "protein"):
            letters = row["text"] or ""
            ids = vocabulary.encode_sequence(modality, letters) if letters else []
        elif modality == "image":
            ids = vocabulary.encode_image(image_pixels(payload(row["payload_sha256"])))
        elif modality == "audio":
            ids = vocabulary.encode_audio(*audio_samples(payload(row["payload_sha256"])))
        else:
            raise Unencodable("unknown_modality", f"modality {modality!r}")
    except Unencodable:
        raise
    except ValueError as error:
        raise Unencodable(f"bad_{modality}", str(error)) from error
    if not ids:
        raise Unencodable("empty", "nothing to encode")
    return ids


def image_pixels(content: bytes) -> NDArray[np.uint8]:
    """uint8[h, w, 3] of an encoded picture; Unencodable if it does not open or is enormous."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            refuse_enormous(image)
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise Unencodable("damaged_image", str(error)) from error


def refuse_enormous(image: Image) -> None:
    """Unencodable above MOST_PIXELS, before anything is decoded."""
    if image.width * image.height > MOST_PIXELS:
        raise Unencodable("enormous_image", f"{image.width} x {image.height} pixels, at most {MOST_PIXELS:,}")


def audio_samples(content: bytes) -> tuple[NDArray[np.float32], int]:
    """One channel, float32[n] in -1..1, and its rate in Hz; Unencodable if it does not open."""
    import soundfile

    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise Unencodable("damaged_audio", str(error)) from error
    if not len(samples):
        raise Unencodable("empty", "no samples")
    return samples.mean(axis=1), int(rate)
