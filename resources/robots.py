"""robots.txt: what may be fetched, and whether its bytes may train a model (RFC 9309; Content-Signal)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

from resources.http import USER_AGENT, HttpClient
from resources.http_errors import Denied, Gone, HttpError

_SIGNAL = re.compile(r"^\s*(?:content-signal|content-usage)\s*:(.*)$", re.IGNORECASE | re.MULTILINE)
_NO_TRAINING = re.compile(r"\b(?:ai-train|train-ai)\s*=\s*(?:no|n)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Robots:
    """An origin's rules for us."""

    parser: RobotFileParser
    reserves_training: bool = False

    def allows(self, url: str) -> bool:
        return self.parser.can_fetch(USER_AGENT, url)


def parse_robots(text: str) -> Robots:
    """Rules of one robots.txt. ``Content-Signal: ai-train=no`` anywhere reserves training for the origin."""
    parser = RobotFileParser()
    parser.parse(text.splitlines())
    return Robots(parser, any(_NO_TRAINING.search(line) for line in _SIGNAL.findall(text)))


def _everything(allowed: bool) -> Robots:
    return parse_robots("" if allowed else "User-agent: *\nDisallow: /")


class RobotsCache:
    """robots.txt of each origin, asked for once a harvest."""

    def __init__(self, http: HttpClient):
        self.http = http
        self._known: dict[str, Robots] = {}

    async def of(self, url: str) -> Robots:
        """Rules for `url`'s origin: none where there is no file; closed where upstream denies it."""
        parts = urlsplit(url)
        origin = f"{parts.scheme}://{parts.netloc}"
        if origin not in self._known:
            self._known[origin] = await self._ask(origin)
        return self._known[origin]

    async def _ask(self, origin: str) -> Robots:
        try:
            answer = await self.http.get(f"{origin}/robots.txt", max_bytes=512 << 10)
        except Gone:
            return _everything(True)
        except Denied:
            # RFC 9309, 2.3.1.3 would allow all after a 4xx; a site that refuses even this means no.
            return _everything(False)
        except HttpError:
            raise
        return parse_robots(answer.body.decode("utf-8", "replace"))
