"""Pictures from rules: cellular automata, reaction and diffusion, terrain, trees, plates. uint8, seeded."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Pixels = NDArray[np.uint8]


def png(pixels: Pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", optimize=True)
    return out.getvalue()


def jpeg(pixels: Pixels) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(out, "JPEG", quality=85)
    return out.getvalue()


def elementary_automaton(rule: int, size: int, seed: int | None) -> Pixels:
    """Wolfram's elementary rule from one cell (no seed) or a random row; (size, size, 3)."""
    row = np.zeros(size, np.uint8)
    row[size // 2] = 1
    if seed is not None:
        row = np.random.default_rng(seed).integers(0, 2, size, dtype=np.uint8)
    table = np.array([rule >> n & 1 for n in range(8)], np.uint8)
    rows = []
    for _ in range(size):
        rows.append(row)
        row = table[4 * np.roll(row, 1) + 2 * row + np.roll(row, -1)]
    return _colours(np.array(rows, np.float64), (250, 248, 240), (30, 50, 90))


def game_of_life(size: int, seed: int, steps: int) -> Pixels:
    """Conway's rule on a torus; a cell's age gives its colour; (size, size, 3)."""
    alive = np.random.default_rng(seed).random((size, size)) < 0.3
    age = np.zeros((size, size))
    for _ in range(steps):
        near = sum(
            np.roll(alive, (dy, dx), (0, 1)).astype(int) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx
        )
        alive = (near == 3) | (alive & (near == 2))
        age = np.where(alive, age + 1, age * 0.8)
    return _colours(np.minimum(age / 20, 1), (12, 16, 28), (250, 210, 90))


def gray_scott(size: int, feed: float, kill: float, seed: int, steps: int = 4000) -> Pixels:
    """The Gray-Scott model of reaction and diffusion (Pearson 1993) on a torus; (size, size, 3)."""
    random = np.random.default_rng(seed)
    u, v = np.ones((size, size)), np.zeros((size, size))
    for y, x in random.integers(0, size - 8, (12, 2)):
        u[y : y + 6, x : x + 6], v[y : y + 6, x : x + 6] = 0.5, 0.25
    v += random.random((size, size)) * 0.02
    for _ in range(steps):
        reaction = u * v * v
        u = u + 0.16 * _laplacian(u) - reaction + feed * (1 - u)
        v = v + 0.08 * _laplacian(v) + reaction - (feed + kill) * v
    return _colours((v - v.min()) / (np.ptp(v) or 1), (245, 238, 220), (20, 70, 80))


def terrain(size: int, seed: int, craters: int, red: bool) -> Pixels:
    """Fractal ground with craters, lit from the north-west; (size, size, 3), Martian or grey."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
    frequency[0, 0] = 1
    noise = np.fft.fft2(random.standard_normal((size, size))) / frequency**2.3
    height = np.real(np.fft.ifft2(noise))
    height = height / height.std() * size / 40
    y, x = np.mgrid[:size, :size]
    for _ in range(craters):
        cy, cx = random.uniform(0, size, 2)
        radius = size * 0.035 * (1 + random.pareto(2.0))
        distance = np.hypot(y - cy, x - cx) / radius
        height = height + radius * np.where(
            distance < 1, 0.5 * (distance**2 - 1) + 0.12, 0.12 * np.exp(-3 * (distance - 1))
        )
    slope_y, slope_x = np.gradient(height)
    light = (1 + slope_x + slope_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
    shade = np.clip(0.5 + 0.35 * (light - light.mean()) / light.std(), 0, 1)
    return (
        _colours(shade, (40, 18, 10), (232, 160, 112))
        if red
        else _colours(shade, (10, 10, 12), (225, 228, 235))
    )


def phylogeny(size: int, seed: int, leaves: int) -> Pixels:
    """A random rectangular tree of ``leaves`` tips (Yule process), root at the left; (size, size, 3)."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), (252, 252, 248))
    draw = ImageDraw.Draw(image)
    margin = size // 12
    height = [margin + (size - 2 * margin) * n / (leaves - 1) for n in range(leaves)]
    nodes = [(position, float(size - margin)) for position in height]
    at = float(size - margin)
    while len(nodes) > 1:
        at -= (size - 2 * margin) / leaves * float(random.uniform(0.6, 1.2))
        n = int(random.integers(0, len(nodes) - 1))
        (y1, x1), (y2, x2) = nodes[n], nodes[n + 1]
        at = max(at, margin / 2)
        for y, x in ((y1, x1), (y2, x2)):
            draw.line([(at, y), (x, y)], fill=(40, 60, 50), width=2)
        draw.line([(at, y1), (at, y2)], fill=(40, 60, 50), width=2)
        nodes[n : n + 2] = [((y1 + y2) / 2, at)]
    draw.line([(0, nodes[0][0]), (nodes[0][1], nodes[0][0])], fill=(40, 60, 50), width=2)
    return np.asarray(image)


def phyllotaxis(size: int, seeds: int) -> Pixels:
    """Seeds of a flower head at the golden angle (Vogel 1979); (size, size, 3)."""
    image = Image.new("RGB", (size, size), (250, 246, 230))
    draw = ImageDraw.Draw(image)
    golden = math.pi * (3 - math.sqrt(5))
    for n in range(seeds):
        radius = size * 0.46 * math.sqrt(n / seeds)
        x, y = size / 2 + radius * math.cos(n * golden), size / 2 + radius * math.sin(n * golden)
        r = size * 0.012
        draw.ellipse([x - r, y - r, x + r, y + r], fill=(150 - 80 * n // seeds, 90, 20))
    return np.asarray(image)


def plasmid(size: int, seed: int) -> Pixels:
    """A ring of coloured arcs, as plasmid maps show genes; (size, size, 3)."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (size, size), (255, 255, 255))
    draw = ImageDraw.Draw(image)
    box = [size * 0.15, size * 0.15, size * 0.85, size * 0.85]
    draw.ellipse(box, outline=(60, 60, 60), width=2)
    start = 0.0
    while start < 330:
        length = float(random.uniform(20, 70))
        colour = tuple(int(c) for c in random.integers(60, 220, 3))
        draw.arc(box, start, min(start + length, 355), fill=colour, width=max(4, size // 20))
        start += length + float(random.uniform(8, 25))
    return np.asarray(image)


def gel(size: int, seed: int, lanes: int = 8) -> Pixels:
    """Bright bands in lanes on a dark ground, as in electrophoresis; (size, size, 3)."""
    random = np.random.default_rng(seed)
    y = np.arange(size)[:, None]
    x = np.arange(size)[None, :]
    light = 0.04 * random.random((size, size))
    for lane in range(lanes):
        centre, width = size * (lane + 0.5) / lanes, size / lanes * 0.32
        places = np.linspace(0.12, 0.9, 8) if lane == 0 else random.uniform(0.15, 0.9, random.integers(1, 4))
        for place in places:
            band = np.exp(-(((y - size * place) / (size * 0.012)) ** 2))
            light += 0.8 * band * (np.abs(x - centre) < width)
    return _colours(np.clip(light, 0, 1), (8, 8, 14), (210, 240, 255))


def _laplacian(a: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.roll(a, 1, 0) + np.roll(a, -1, 0) + np.roll(a, 1, 1) + np.roll(a, -1, 1) - 4 * a


def _colours(values: NDArray[np.float64], low: tuple[int, ...], high: tuple[int, ...]) -> Pixels:
    mixed = np.array(low) + values[..., None] * (np.array(high) - np.array(low))
    return np.asarray(np.round(mixed), np.uint8)
