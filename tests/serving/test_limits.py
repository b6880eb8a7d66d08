from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.limits import Limiter, Limits


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(
    rate=st.floats(1, 6000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 20), min_size=1, max_size=200),
)
def test_never_more_than_burst_plus_rate_pass(rate: float, burst: int, gaps: list[float]) -> None:
    clock = Clock()
    limiter, limits = Limiter(clock), Limits(requests_per_minute=rate, burst=burst)
    passed = []
    for gap in gaps:
        clock.now += gap
        if not limiter.admit("k", limits):
            passed.append(clock.now)
    for i, start in enumerate(passed):
        for j in range(i, len(passed)):
            assert j - i + 1 <= burst + (passed[j] - start) * rate / 60 + 1e-6


@given(rate=st.floats(1, 6000), burst=st.integers(1, 20), asked=st.integers(1, 60))
def test_the_wait_is_exact(rate: float, burst: int, asked: int) -> None:
    clock = Clock()
    limiter, limits = Limiter(clock), Limits(requests_per_minute=rate, burst=burst)
    for _ in range(asked):
        wait = limiter.admit("k", limits)
        if wait:
            clock.now += wait * 0.99
            assert limiter.admit("k", limits) > 0
            clock.now += wait * 0.01 + 1e-6
            assert limiter.admit("k", limits) == 0


def test_keys_do_not_share_limits() -> None:
    limiter, limits = Limiter(Clock()), Limits(requests_per_minute=1, burst=1)
    assert limiter.admit("a", limits) == 0
    assert limiter.admit("b", limits) == 0
    assert limiter.admit("a", limits) > 0
    limiter.forget({"b"})
    assert limiter.admit("a", limits) == 0
    assert limiter.admit("b", limits) > 0


@given(st.lists(st.tuples(st.integers(1, 900), st.floats(0, 1), st.floats(0, 30)), max_size=60))
def test_tokens_used_never_exceed_the_budget(requests: list[tuple[int, float, float]]) -> None:
    clock = Clock()
    limiter, limits = Limiter(clock), Limits(tokens_per_minute=600)
    used = 0.0
    for tokens, share, gap in requests:
        clock.now += gap
        if not limiter.reserve("k", limits, tokens):
            spent = int(tokens * share)
            limiter.reconcile("k", limits, tokens, spent)
            used += spent
    # 600 at once and 10 a second; one request above the whole budget may pass when it is full.
    assert used <= 600 + (clock.now - 100) * 10 + 900


def test_what_was_not_used_comes_back() -> None:
    limiter, limits = Limiter(Clock()), Limits(tokens_per_minute=100)
    assert limiter.reserve("k", limits, 90) == 0
    assert limiter.reserve("k", limits, 50) == 24.0
    limiter.reconcile("k", limits, 90, 10)
    assert limiter.reserve("k", limits, 50) == 0
