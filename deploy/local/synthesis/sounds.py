"""Animal-like sounds from rules: bird phrases, frog pulses, cricket chirps. float64 in [-1, 1], seeded."""

from __future__ import annotations

import io

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16_000
Samples = NDArray[np.float64]


def encode(samples: Samples, kind: str) -> bytes:
    """16-bit WAV or FLAC, one channel, 16 kHz; ``kind`` is ``WAV`` or ``FLAC``."""
    out = io.BytesIO()
    soundfile.write(out, samples, RATE, format=kind, subtype="PCM_16")
    return out.getvalue()


def bird(seconds: float, seed: int, low: float, high: float, notes: int) -> Samples:
    """Phrases of sweeping whistles between two frequencies (Hz)."""
    random = np.random.default_rng(seed)
    out = _ground(seconds, random)
    shapes = [random.uniform(low, high, 3) for _ in range(notes)]
    at = 0.1
    while at < seconds - 0.3:
        for start, middle, end in shapes:
            length = float(random.uniform(0.06, 0.16))
            t = np.linspace(0, 1, int(length * RATE))
            frequency = np.interp(t, [0, 0.5, 1], [start, middle, end])
            tone = np.sin(2 * np.pi * np.cumsum(frequency) / RATE)
            tone += 0.2 * np.sin(4 * np.pi * np.cumsum(frequency) / RATE)
            _add(out, at, 0.5 * tone * np.sin(np.pi * t) ** 0.7)
            at += length + float(random.uniform(0.01, 0.05))
        at += float(random.uniform(0.2, 0.5))
    return _finished(out)


def frog(seconds: float, seed: int, carrier: float, pulses: float) -> Samples:
    """Calls made of pulses (a second) of a low tone (Hz) that grow and end at once."""
    random = np.random.default_rng(seed)
    out = _ground(seconds, random)
    at = 0.15
    while at < seconds - 0.6:
        length = float(random.uniform(0.35, 0.55))
        t = np.arange(int(length * RATE)) / RATE
        pulse = np.clip(np.sin(2 * np.pi * pulses * t), 0, 1) ** 2
        tone = np.sin(2 * np.pi * carrier * t) + 0.5 * np.sin(4 * np.pi * carrier * t)
        _add(out, at, 0.5 * tone * pulse * np.linspace(0.3, 1, t.size))
        at += length + float(random.uniform(0.25, 0.5))
    return _finished(out)


def cricket(seconds: float, seed: int, carrier: float, rate: float) -> Samples:
    """Chirps of three syllables of a pure tone (Hz), ``rate`` chirps a second."""
    random = np.random.default_rng(seed)
    out = _ground(seconds, random)
    syllable = np.arange(int(0.018 * RATE)) / RATE
    tone = np.sin(2 * np.pi * carrier * syllable) * np.hanning(syllable.size)
    for start in np.arange(0.1, seconds - 0.2, 1 / rate):
        for n in range(3):
            _add(out, float(start) + 0.028 * n, 0.6 * tone * (0.7 + 0.15 * n))
    return _finished(out)


def _ground(seconds: float, random: np.random.Generator) -> Samples:
    return 0.004 * random.standard_normal(int(seconds * RATE))


def _add(out: Samples, at: float, sound: Samples) -> None:
    start = int(at * RATE)
    part = sound[: max(0, out.size - start)]
    out[start : start + part.size] += part


def _finished(out: Samples) -> Samples:
    return np.asarray(out * (0.8 / np.abs(out).max()), np.float64)
