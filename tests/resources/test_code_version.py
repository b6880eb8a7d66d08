"""The digest of code: it follows the sources, and nothing is imported for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources import code_version as module


def digest(*names: str) -> str:
    module.code_version.cache_clear()
    return module.code_version(*names)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "plants" / "deep").mkdir(parents=True)
    for name in ("plants/__init__.py", "plants/moss.py", "plants/deep/__init__.py", "plants/deep/root.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')\n")
    (tmp_path / "alone.py").write_text("X = 1\n")
    monkeypatch.setattr(module, "PROJECT", tmp_path)
    yield tmp_path
    module.code_version.cache_clear()


def test_it_follows_every_source_that_is_named_and_no_other(project: Path) -> None:
    part, whole, alone = digest("plants.deep.root"), digest("plants"), digest("alone")
    assert len(whole) == 16 and len({part, whole, alone}) == 3
    assert digest("alone", "plants") == digest("plants", "alone", "plants.moss")
    (project / "plants" / "deep" / "root.py").write_text("Y = 2\n")
    assert digest("plants.deep.root") != part and digest("plants") != whole and digest("alone") == alone
    assert not {"plants", "alone"} & set(sys.modules)


def test_a_source_that_moves_is_another(project: Path) -> None:
    whole = digest("plants")
    (project / "plants" / "moss.py").rename(project / "plants" / "fern.py")
    assert digest("plants") != whole


def test_a_module_that_is_not_there_is_named(project: Path) -> None:
    with pytest.raises(ValueError, match=r"plants\.oak"):
        digest("plants.oak")
