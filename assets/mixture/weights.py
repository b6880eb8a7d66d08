"""Weights of strata between floors, caps and the repetition limit: a pure function.

Water-filling: each weight is its target times one common factor, cut to its bounds; the factor is the one
at which the weights sum to 1. So what a bound takes from one stratum goes to the free ones in proportion to
their targets, and no other stratum's rank changes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

# Sums of floats are compared with 1 to this tolerance.
TOLERANCE = 1e-9


class ImpossibleBounds(ValueError):
    """No weights between these bounds sum to 1; the message names the bound that is to blame."""


@dataclass(frozen=True)
class Bounds:
    """A stratum's target (relative), and the least and the most that it may weigh."""

    target: float
    floor: float
    cap: float


def fill(bounds: Mapping[str, Bounds]) -> dict[str, float]:
    """Weights that sum to 1 (to 1e-9) with floor <= weight <= cap for every stratum.

    Raises ImpossibleBounds, naming the largest floors or the smallest caps, when there are none.
    """
    _check(bounds)
    names = sorted(bounds)
    low, high = 0.0, 1.0
    while _total(bounds, high) < 1 - TOLERANCE / 10:
        high *= 2
        if math.isinf(high):
            raise ImpossibleBounds("targets of 0 leave no stratum that could take the rest")
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _total(bounds, middle) < 1 else (low, middle)
    weights = {name: _clip(bounds[name], high) for name in names}
    # What bisection leaves, some 1e-17, goes to the stratum with the most room for it.
    rest = 1.0 - math.fsum(weights.values())
    room = {n: (bounds[n].cap - weights[n] if rest > 0 else weights[n] - bounds[n].floor) for n in names}
    widest = max(names, key=lambda n: room[n])
    weights[widest] = min(max(weights[widest] + rest, bounds[widest].floor), bounds[widest].cap)
    return weights


def _clip(bound: Bounds, factor: float) -> float:
    return min(max(bound.target * factor, bound.floor), bound.cap)


def _total(bounds: Mapping[str, Bounds], factor: float) -> float:
    return math.fsum(_clip(b, factor) for b in bounds.values())


def _check(bounds: Mapping[str, Bounds]) -> None:
    if not bounds:
        raise ImpossibleBounds("there is no stratum to weigh")
    for name, bound in sorted(bounds.items()):
        if not (
            0 <= bound.floor <= 1 and bound.cap >= 0 and bound.target >= 0 and math.isfinite(bound.target)
        ):
            raise ImpossibleBounds(f"{name}: target {bound.target}, floor {bound.floor}, cap {bound.cap}")
        if bound.floor > bound.cap:
            raise ImpossibleBounds(f"{name}: its floor {bound.floor:.4g} is above its cap {bound.cap:.4g}")
    floors = math.fsum(b.floor for b in bounds.values())
    if floors > 1 + TOLERANCE:
        largest = sorted(bounds, key=lambda n: (-bounds[n].floor, n))[:3]
        named = ", ".join(f"{n} {bounds[n].floor:.4g}" for n in largest)
        raise ImpossibleBounds(f"the floors sum to {floors:.4g}, over 1; the largest: {named}. Lower one.")
    caps = math.fsum(b.cap if b.target > 0 else b.floor for b in bounds.values())
    if caps < 1 - TOLERANCE:
        smallest = sorted((n for n in bounds), key=lambda n: (bounds[n].cap, n))[:3]
        named = ", ".join(f"{n} {bounds[n].cap:.4g}" for n in smallest)
        raise ImpossibleBounds(f"the caps sum to {caps:.4g}, under 1; the smallest: {named}. Raise one.")
