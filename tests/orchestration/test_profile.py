"""Which items a session runs on."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.profile import SAMPLE, profile_for


def test_the_sample_is_the_default() -> None:
    assert profile_for(None) == profile_for(SAMPLE)
    assert profile_for(None).catalog.is_file()


def test_an_index_means_golden_items(tmp_path: Path) -> None:
    (tmp_path / "INDEX.tsv").write_text("path\n")
    profile = profile_for(tmp_path)
    assert profile.mapping == "tests.golden.mapping"
    assert profile.home != profile_for(None).home
    assert profile.catalog.is_file()


def test_another_folder_is_refused_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"items\.jsonl"):
        profile_for(tmp_path)
