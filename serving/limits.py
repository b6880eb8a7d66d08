"""Limits per key: requests by GCRA, tokens by a budget that is reserved first and reconciled after.

GCRA (generic cell rate algorithm, ITU-T I.371) keeps one number a key: the theoretical arrival time of the
next request. The token budget is a leaky bucket: a request reserves its prompt and the most it may
generate, and gets back what it did not use.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What one key may use: requests a minute with a burst, tokens a minute (prompt and completion)."""

    requests_per_minute: float = 600.0
    burst: int = 60
    tokens_per_minute: float = 200_000.0


class Limiter:
    """Per-key state in memory; bounded, as keys come from the keys file only.

    Times are from a monotonic clock in seconds. Not for threads: the gateway has one event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._arrival: dict[str, float] = {}
        self._tokens: dict[str, tuple[float, float]] = {}

    def admit(self, key: str, limits: Limits) -> float:
        """Take one request. Returns 0.0 if it may pass, else the seconds to wait (nothing is taken)."""
        now = self._clock()
        interval = 60.0 / limits.requests_per_minute
        arrival = max(self._arrival.get(key, now), now)
        wait = arrival - now - interval * (limits.burst - 1)
        if wait > 1e-9:
            return wait
        self._arrival[key] = arrival + interval
        return 0.0

    def reserve(self, key: str, limits: Limits, tokens: int) -> float:
        """Take `tokens` from the budget. Returns 0.0, or the seconds until they would be there.

        A request larger than the whole budget passes when the budget is full, so that it is slow, not
        impossible.
        """
        now = self._clock()
        capacity = limits.tokens_per_minute
        rate = capacity / 60.0
        left, at = self._tokens.get(key, (capacity, now))
        left = min(capacity, left + (now - at) * rate)
        missing = min(float(tokens), capacity) - left
        if missing > 1e-9:
            self._tokens[key] = (left, now)
            return missing / rate
        self._tokens[key] = (left - tokens, now)
        return 0.0

    def reconcile(self, key: str, limits: Limits, reserved: int, used: int) -> None:
        """Give back what a finished request reserved and did not use (or take what it used beyond)."""
        state = self._tokens.get(key)
        if state is not None:
            left, at = state
            self._tokens[key] = (min(limits.tokens_per_minute, left + reserved - used), at)

    def forget(self, known: set[str]) -> None:
        """Drop the state of keys that are no longer known."""
        for table in (self._arrival, self._tokens):
            for key in table.keys() - known:
                del table[key]
