# ruff: noqa: E501  (markup reads best unbroken)
"""The card's plots, as inline SVG that takes its colours from the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

BEFORE, AFTER, LINE = "var(--sky)", "var(--leaf)", "var(--line)"


def loss_plot(losses: Sequence[float]) -> str:
    """Loss by step, as a line from zero up."""
    width, height, left, bottom = 440, 190, 34, 24
    top = max(losses, default=1.0) * 1.05 or 1.0
    span = max(1, len(losses) - 1)
    points = " ".join(
        f"{left + (width - left - 6) * i / span:.1f},{(height - bottom) * (1 - value / top) + 4:.1f}"
        for i, value in enumerate(losses)
    )
    marks = "".join(_rule(value, top, left, width, height - bottom) for value in _ticks(top))
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="loss by step">{marks}'
        f'<polyline points="{points}" fill="none" stroke="{AFTER}" stroke-width="1.8" stroke-linejoin="round"/>'
        f'<text x="{left}" y="{height - 6}">1</text>'
        f'<text x="{width - 6}" y="{height - 6}" text-anchor="end">{len(losses)} steps</text></svg>'
    )


def _rule(value: float, top: float, left: int, width: int, height: int) -> str:
    y = height * (1 - value / top) + 4
    return (
        f'<line x1="{left}" x2="{width - 6}" y1="{y:.1f}" y2="{y:.1f}" stroke="{LINE}"/>'
        f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    )


def _ticks(top: float) -> list[float]:
    step = next(s for s in (0.1, 0.25, 0.5, 1, 2, 5, 10, 25, 50, 100, 1e9) if top / s <= 5)
    return [step * i for i in range(int(top / step) + 1)]


def share_bars(groups: Sequence[tuple[str, Sequence[tuple[str, Mapping[str, Any], str]]]]) -> str:
    """Shares from 0 to 100%: a group a probe, a bar a checkpoint, a whisker its interval."""
    width, left, row = 760, 210, 24
    rows, y = [], 22
    for title, bars in groups:
        rows.append(f'<text x="{left - 12}" y="{y + row:.0f}" text-anchor="end">{escape(title)}</text>')
        for (stage, figures, field), colour in zip(bars, (BEFORE, AFTER), strict=True):
            rows.append(_bar(figures, field, stage, colour, y, left, width - left - 60))
            y += row
        y += 14
    scale = width - left - 60
    grid = "".join(
        f'<line x1="{left + scale * i / 4:.1f}" x2="{left + scale * i / 4:.1f}" y1="14" y2="{y - 8}" stroke="{LINE}"/>'
        f'<text x="{left + scale * i / 4:.1f}" y="10" text-anchor="middle">{25 * i}%</text>'
        for i in range(5)
    )
    return (
        f'<svg viewBox="0 0 {width} {y + 22}" role="img" aria-label="probes">{grid}{"".join(rows)}'
        f"{_legend(left, y + 12)}</svg>"
    )


def _bar(
    figures: Mapping[str, Any], field: str, stage: str, colour: str, y: int, left: int, scale: int
) -> str:
    value = figures[field]
    if value is None:
        return f'<text x="{left + 4}" y="{y + 15}">not asked</text>'
    low, high = (left + scale * figures[f"{field}_{end}"] for end in ("low", "high"))
    return (
        f'<rect x="{left}" y="{y + 3}" width="{max(1.5, scale * value):.1f}" height="16" rx="3" fill="{colour}">'
        f"<title>{escape(stage)}: {value:.1%} of {figures['asked']}</title></rect>"
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 11}" y2="{y + 11}" stroke="var(--ink)" stroke-width="1.2"/>'
        f'<text x="{max(high, left + scale * value) + 6:.1f}" y="{y + 15}">{value:.0%}</text>'
    )


def interval_plot(perplexity: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Loss by stratum before and after, with intervals, and the loss of a uniform guess as a dashed line."""
    before, after = perplexity["pretrained"], perplexity["instructed"]
    uniform = before[0]["uniform_loss"]
    width, left, row = 760, 210, 30
    top = max([uniform, *(r["loss_high"] for r in (*before, *after))]) * 1.05
    scale = width - left - 30
    height = 24 + row * len(before)
    ticks = "".join(
        f'<line x1="{left + scale * v / top:.1f}" x2="{left + scale * v / top:.1f}" y1="16" y2="{height}" stroke="{LINE}"/>'
        f'<text x="{left + scale * v / top:.1f}" y="11" text-anchor="middle">{v:g}</text>'
        for v in _ticks(top)
    )
    rows = []
    for i, (b, a) in enumerate(zip(before, after, strict=True)):
        y = 24 + row * i + 11
        rows.append(f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(b["stratum"])}</text>')
        rows += [_dot(b, BEFORE, y - 5, left, scale / top), _dot(a, AFTER, y + 5, left, scale / top)]
    x = left + scale * uniform / top
    return (
        f'<svg viewBox="0 0 {width} {height + 34}" role="img" aria-label="held-out loss by stratum">{ticks}{"".join(rows)}'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="16" y2="{height}" stroke="var(--no)" stroke-dasharray="4 4"/>'
        f'<text x="{x - 6:.1f}" y="{height + 24}" text-anchor="end">uniform guess: {uniform:.2f} nats</text>'
        f"{_legend(left, height + 20)}</svg>"
    )


def _dot(figures: Mapping[str, Any], colour: str, y: int, left: int, scale: float) -> str:
    low, middle, high = (left + scale * figures[k] for k in ("loss_low", "loss", "loss_high"))
    return (
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>'
        f'<circle cx="{middle:.1f}" cy="{y}" r="4.5" fill="{colour}">'
        f"<title>{figures['loss']:.3f} nats a token</title></circle>"
    )


def _legend(x: int, y: int) -> str:
    parts = []
    for i, (name, colour) in enumerate((("pretrained", BEFORE), ("instructed", AFTER))):
        at = x + 110 * i
        parts.append(f'<rect x="{at}" y="{y - 6}" width="12" height="12" rx="3" fill="{colour}"/>')
        parts.append(f'<text x="{at + 18}" y="{y + 4}">{name}</text>')
    return "".join(parts)
