"""Water-filling: sums to 1, keeps every bound, names the bound that is impossible."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from assets.mixture.weights import Bounds, ImpossibleBounds, fill

shares = st.floats(0, 1, allow_nan=False)
bounds = st.builds(
    lambda target, a, b: Bounds(target, min(a, b), max(a, b)), st.floats(0.001, 100), shares, shares
)


@settings(deadline=None)
@given(st.dictionaries(st.text("abc/", min_size=1, max_size=4), bounds, min_size=1, max_size=8))
def test_weights_sum_to_one_within_bounds_or_the_error_names_one(given_bounds: dict[str, Bounds]) -> None:
    possible = (
        math.fsum(b.floor for b in given_bounds.values()) <= 1
        and math.fsum(b.cap for b in given_bounds.values()) >= 1
    )
    try:
        weights = fill(given_bounds)
    except ImpossibleBounds as error:
        assert not possible
        assert any(name in str(error) for name in given_bounds)
        return
    assert weights.keys() == given_bounds.keys()
    assert math.isclose(math.fsum(weights.values()), 1, abs_tol=1e-9)
    for name, weight in weights.items():
        assert given_bounds[name].floor - 1e-12 <= weight <= given_bounds[name].cap + 1e-12


@settings(deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), bounds, min_size=2, max_size=6))
def test_free_strata_keep_the_proportion_of_their_targets(given_bounds: dict[str, Bounds]) -> None:
    try:
        weights = fill(given_bounds)
    except ImpossibleBounds:
        assume(False)
    factors = [
        weights[n] / b.target for n, b in given_bounds.items() if b.floor + 1e-9 < weights[n] < b.cap - 1e-9
    ]
    assert all(math.isclose(f, factors[0], rel_tol=1e-6) for f in factors)


def test_without_bounds_the_targets_are_normalised() -> None:
    assert fill({"a": Bounds(3, 0, 1), "b": Bounds(1, 0, 1)}) == pytest.approx({"a": 0.75, "b": 0.25})


def test_what_a_cap_takes_goes_to_the_free_ones() -> None:
    weights = fill({"a": Bounds(8, 0, 0.5), "b": Bounds(1, 0, 1), "c": Bounds(1, 0.3, 1)})
    assert weights == pytest.approx({"a": 0.5, "b": 0.2, "c": 0.3})


@pytest.mark.parametrize(
    ("impossible", "names"),
    [
        ({"a": Bounds(1, 0.7, 1), "b": Bounds(1, 0.6, 1)}, "floors sum to 1.3.*a 0.7"),
        ({"a": Bounds(1, 0, 0.2), "b": Bounds(1, 0, 0.3)}, "caps sum to 0.5.*a 0.2"),
        ({"a": Bounds(1, 0.5, 0.2)}, "a: its floor 0.5 is above its cap 0.2"),
        ({}, "no stratum"),
    ],
)
def test_impossible_bounds_are_named(impossible: dict[str, Bounds], names: str) -> None:
    with pytest.raises(ImpossibleBounds, match=names):
        fill(impossible)
