"""Fixtures that every room's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of real items beside the checkout; tests that need it are skipped where it is missing."""
    if not (GOLDEN / "INDEX.tsv").is_file():
        pytest.skip(f"left out: no golden items at {GOLDEN}")
    return GOLDEN
