"""Settings come from the environment, and a bad one is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resources.settings import PROJECT, Settings, parse_routes


def test_defaults_and_what_the_environment_says(tmp_path: Path) -> None:
    plain = Settings.from_environment({})
    assert plain.home == PROJECT / ".luca" and plain.store == (PROJECT / ".luca" / "store").as_uri()
    assert plain.catalog.is_file() and plain.mixture.is_file() and plain.recipes.is_dir()
    catalog = "deploy/local/catalog.yaml"
    given = Settings.from_environment(
        {"LUCA_HOME": str(tmp_path), "LUCA_STORE": "s3://bucket/luca", "LUCA_CATALOG": catalog}
    )
    assert given.jobs == tmp_path / "jobs" and given.store == "s3://bucket/luca"
    assert given.catalog == PROJECT / catalog


def test_every_variable_stands_in_the_table() -> None:
    table = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    source = (PROJECT / "resources" / "settings.py").read_text(encoding="utf-8")
    names = set(re.findall(r'"(LUCA_[A-Z]+)"', source))
    assert len(names) >= 6
    assert [name for name in sorted(names) if f"| `{name}` |" not in table] == []


def test_routes() -> None:
    assert parse_routes("") == {}
    text = "http://a.test=http://127.0.0.1:1/, http://b.test=http://127.0.0.1:2"
    assert parse_routes(text) == {
        "http://a.test": "http://127.0.0.1:1",
        "http://b.test": "http://127.0.0.1:2",
    }
    for wrong in ("http://a.test", "a.test=http://b.test", "http://a.test=b"):
        with pytest.raises(ValueError, match="LUCA_ROUTES"):
            parse_routes(wrong)
