"""Sound to FLAC, mono, 16 kHz, 16 bits, in parts of bounded length."""

from __future__ import annotations

import io
from collections.abc import Iterator
from math import gcd
from typing import Any

from assets.documents.parts import Part, RawItem, Rejection, Unreadable

RATE = 16_000
PART_SECONDS = 30
MIN_SECONDS = 0.1
# A peak below -60 dB of full scale leaves nothing to learn but dither.
SILENCE = 10 ** (-60 / 20)


def read_audio(item: RawItem) -> Iterator[Part | Rejection]:
    """Parts of 30 seconds, read block by block. Torn, empty, silent and too short sounds are set aside."""
    import soundfile

    if item.path.stat().st_size == 0:
        raise Unreadable("empty", "the file holds no byte")
    try:
        with soundfile.SoundFile(item.path) as sound:
            if sound.frames < MIN_SECONDS * sound.samplerate:
                raise Unreadable("too_short", f"{sound.frames} samples at {sound.samplerate} Hz")
            yield from _parts(sound)
    except soundfile.LibsndfileError as error:
        raise Unreadable("damaged", f"no sound that can be read: {error}") from error


def _parts(sound: Any) -> Iterator[Part | Rejection]:
    import numpy as np

    rate = int(sound.samplerate)
    promised = int(sound.frames)
    read = 0
    while True:
        block = sound.read(PART_SECONDS * rate, dtype="float32", always_2d=True)
        start = read / rate
        read += len(block)
        if len(block) < MIN_SECONDS * rate:
            break
        where = f"second {start:g}"
        mono = block.mean(axis=1, dtype=np.float64)
        if not np.isfinite(mono).all():
            yield Rejection(where, "damaged", "samples that are no numbers")
            continue
        peak = float(np.abs(mono).max())
        if peak < SILENCE:
            yield Rejection(
                where, "silent", f"the loudest of {len(mono)} samples is {peak:.2g} of full scale"
            )
            continue
        quality = {
            "reader": "audio",
            "original": f"{sound.format} {sound.subtype} {rate} Hz, {sound.channels} channels",
            "offset_seconds": start,
            "seconds": round(len(mono) / rate, 3),
            "peak": round(peak, 4),
        }
        yield Part(
            modality="audio",
            payload=encode_flac(resample(mono, rate)),
            payload_media_type="audio/flac",
            clean=False,
            quality=quality,
        )
    # Some files promise more than they hold; compressed ones only estimate.
    if read < promised and str(sound.format) in {"WAV", "AIFF", "FLAC"}:
        yield Rejection(f"second {read / rate:g}", "truncated", f"{promised} samples promised, {read} there")


def resample(mono: Any, rate: int) -> Any:
    """float64[n] at `rate` Hz to float64[m] at 16 kHz by a polyphase filter (SciPy, Kaiser window)."""
    if rate == RATE:
        return mono
    from scipy.signal import resample_poly

    common = gcd(rate, RATE)
    return resample_poly(mono, RATE // common, rate // common)


def encode_flac(samples: Any) -> bytes:
    """float[n] in -1 to 1, at 16 kHz, as the bytes of a FLAC file of 16 bits."""
    import numpy as np
    import soundfile

    pcm = np.clip(np.rint(samples * 32767), -32768, 32767).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
