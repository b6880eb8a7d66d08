"""Peak memory of a piece of work: this process and its children, sampled while the work runs."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

SAMPLE_SECONDS = 0.25


class PeakMemory:
    """A context manager; `peak` is the largest resident set seen so far, in bytes.

    Sampled, since the kernel's own high-water mark covers a process's whole life, and so everything that
    ran in it before. Pages that processes share are counted once for each: an upper bound.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self.sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def sample(self) -> int:
        """Look once; returns the peak."""
        total = 0
        for process in (self._process, *self._process.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue  # it ended between the listing and the look
        self.peak = max(self.peak, total)
        return self.peak

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self.sample()
