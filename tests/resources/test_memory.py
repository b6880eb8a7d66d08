"""Peak memory is seen while it lasts, in this process and in its children."""

from __future__ import annotations

import subprocess
import sys
import time

from resources.memory import PeakMemory

MIB = 2**20


def test_a_block_that_is_freed_again_counts() -> None:
    with PeakMemory() as memory:
        before = memory.peak
        block = bytearray(200 * MIB)
        block[::4096] = b"x" * len(block[::4096])  # touched, or it takes no page
        time.sleep(0.6)
        del block
    assert memory.peak - before > 150 * MIB


def test_a_child_counts() -> None:
    program = "import time; block = b'x' * (200 * 2**20); print('held', flush=True); time.sleep(1)"
    with PeakMemory() as memory:
        before = memory.peak
        subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    assert memory.peak - before > 150 * MIB
