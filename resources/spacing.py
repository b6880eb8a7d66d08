"""Politeness: at most one request to a host per so many seconds, over all processes of the machine."""

from __future__ import annotations

import fcntl
import hashlib
import struct
import time
from pathlib import Path

# Seconds between two requests. E-utilities allow 3 a second (10 with a key) and measure strictly, so
# 0.334 still trips the limit; arXiv asks for one request per 3 s.
HOST_SPACING = {
    "eutils.ncbi.nlm.nih.gov": 0.37,
    "oaipmh.arxiv.org": 3.0,
    "export.arxiv.org": 3.0,
    "xeno-canto.org": 1.0,
}
DEFAULT_SPACING = 0.2
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")
_SKEW = 600.0


def spacing_of(host: str, overrides: dict[str, float]) -> float:
    """Seconds between requests to `host`; none for a stand-in on loopback, unless asked for."""
    if host in overrides:
        return overrides[host]
    return 0.0 if host in LOOPBACK else HOST_SPACING.get(host, DEFAULT_SPACING)


class Spacing:
    """Hands out times to send at. The last one given is kept in a locked file per host."""

    def __init__(self, folder: Path):
        self.folder = folder

    def reserve(self, host: str, seconds: float) -> float:
        """Take the next slot; returns how many seconds to wait for it."""
        if seconds <= 0:
            return 0.0
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(host.encode()).hexdigest()[:24] + ".slot"
        with (self.folder / name).open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            raw = file.read(8)
            now = time.time()
            last = struct.unpack("<d", raw)[0] if len(raw) == 8 else 0.0
            # A slot far ahead was written under another clock: start again from now.
            slot = max(now, last + seconds) if last < now + _SKEW else now
            file.seek(0)
            file.truncate()
            file.write(struct.pack("<d", slot))
            file.flush()
        return slot - now
