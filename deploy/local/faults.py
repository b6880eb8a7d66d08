"""Faults on request: what real upstreams do on bad days, reproducible.

A rule is ``PATH=KIND[:ARGUMENT][*COUNT][@SKIP]``; rules are separated by ``;``. PATH is a shell
pattern over the request's path; the first rule that matches and still counts applies.

    /oai=503:2*1            the first OAI request: 503 with Retry-After: 2
    /files/*=429            every file: 429 without Retry-After
    /files/a.txt=truncate   full Content-Length, then half of the body and a closed connection
    /files/*=reset:1000*1   a TCP reset after 1000 bytes, once
    /files/a.txt=short      a Content-Length that is too small, and no more bytes than it says
    /oai=html               an HTML page under 200 where XML should be
    /oai=expired*1@1        the second OAI request: badResumptionToken
    /oai=unprocessable      OAI errors under HTTP 422
    /oai=retry200:1         Retry-After on a good answer
    /entrez/*=ratelimit*1   Entrez's rate limit, as JSON under 200
    /files/*=drip:2000      at most 2000 bytes a second
    /entrez/*=empty*1       an empty body under 200
    /files/*=stall:3        three seconds of silence first
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase

KINDS = frozenset(
    [
        "truncate",
        "reset",
        "short",
        "html",
        "expired",
        "unprocessable",
        "retry200",
        "ratelimit",
        "drip",
        "empty",
        "stall",
    ]
)
RULE = re.compile(
    r"(?P<path>/[^=]*)=(?P<kind>\w+)(?::(?P<argument>[^*@]+))?(?:\*(?P<count>\d+))?(?:@(?P<skip>\d+))?"
)

CHALLENGE = (
    b"<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking you.</body></html>"
)


@dataclass(frozen=True)
class Fault:
    """One rule. ``kind`` is a name of ``KINDS`` or an HTTP status of 400 or more."""

    path: str
    kind: str
    argument: str | None = None
    count: int | None = None
    skip: int = 0

    def number(self, default: float) -> float:
        return default if self.argument is None else float(self.argument)


def parse_faults(text: str) -> list[Fault]:
    """Rules from text; raises ValueError that quotes the bad rule."""
    faults = []
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        match = RULE.fullmatch(part)
        if match is None:
            raise ValueError(f"fault {part!r} is not PATH=KIND[:ARGUMENT][*COUNT][@SKIP]")
        kind = match["kind"]
        if kind not in KINDS and not (kind.isdigit() and 400 <= int(kind) <= 599):
            raise ValueError(f"fault {part!r}: kind {kind!r} is not a status from 400, nor {sorted(KINDS)}")
        count = None if match["count"] is None else int(match["count"])
        faults.append(Fault(match["path"], kind, match["argument"], count, int(match["skip"] or 0)))
    return faults


class Faults:
    """Rules with their counters."""

    def __init__(self, rules: list[Fault]) -> None:
        self.rules = rules
        self._seen: Counter[int] = Counter()

    def next(self, path: str) -> Fault | None:
        """The fault for this request, if a rule wants one; counts the request."""
        for index, rule in enumerate(self.rules):
            if not fnmatchcase(path, rule.path):
                continue
            seen = self._seen[index]
            self._seen[index] += 1
            if seen >= rule.skip and (rule.count is None or seen < rule.skip + rule.count):
                return rule
        return None
