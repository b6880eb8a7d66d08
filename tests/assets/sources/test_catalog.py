"""The catalogue: the shipped ones hold; every mistake is named to the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from assets.sources.catalog import CatalogError, load_catalog
from resources.settings import PROJECT

ENTRY: dict[str, Any] = {
    "name": "essays",
    "title": "Essays",
    "protocol": "oai_pmh",
    "base_url": "http://x.test/oai",
    "query": {"metadata_prefix": "oai_dc", "follow": True},
    "domain": "philosophy",
    "modality": "text",
    "dimension": "conceptual",
    "language": "en",
    "region": "global",
    "tradition": "none",
    "licence": {"rule": "per_item", "spdx": None, "evidence": "dc:rights"},
    "attribution": "A",
    "citation": "C",
    "contact": "a@b.test",
    "cadence": "weekly",
    "tier": "canonical",
    "enabled": True,
    "reason": "R",
}


def write(folder: Path, *entries: dict[str, Any]) -> Path:
    path = folder / "catalog.yaml"
    path.write_text(yaml.safe_dump({"sources": list(entries)}))
    return path


@pytest.mark.parametrize("path", ["assets/sources/catalog.yaml", "deploy/local/catalog.yaml"])
def test_shipped_catalogues_hold(path: str) -> None:
    entries = load_catalog(PROJECT / path)
    assert {e.protocol for e in entries} == {"entrez", "oai_pmh", "pds", "xeno_canto", "web"}
    assert all(e.reason for e in entries)


def test_philarchive_stands_disabled() -> None:
    entries = {e.name: e for e in load_catalog(PROJECT / "assets" / "sources" / "catalog.yaml")}
    assert not entries["philarchive"].enabled


def test_a_good_entry(tmp_path: Path) -> None:
    (entry,) = load_catalog(write(tmp_path, ENTRY))
    assert entry.arguments == {"metadata_prefix": "oai_dc", "follow": True}
    assert entry.limits.items == 10_000


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Essays"}, "'name'"),
        ({"protocol": "ftp"}, "'protocol'"),
        ({"base_url": "x.test"}, "'base_url'"),
        ({"query": {"follow": "yes"}}, "'query.follow'"),
        ({"query": {"prefix": "x"}}, "'query.prefix'"),
        ({"protocol": "web", "query": {}}, "'query'"),
        ({"protocol": "entrez", "query": {"db": "nuccore"}}, "'query.term'"),
        ({"language": "english!"}, "'language'"),
        ({"licence": {"rule": "fixed", "spdx": None, "evidence": "e"}}, "'licence'"),
        ({"licence": {"rule": "fixed", "spdx": "CC-BY-7.0", "evidence": "e"}}, "'licence'"),
        ({"licence": {"rule": "per_item", "evidence": ""}}, "'licence.evidence'"),
        ({"limits": {"items": 0}}, "'limits.items'"),
        ({"enabled": "yes"}, "'enabled'"),
        ({"colour": "green"}, "'colour'"),
        ({"contact": "nobody"}, "'contact'"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], field: str, tmp_path: Path) -> None:
    path = write(tmp_path, {**ENTRY, **change})
    with pytest.raises(CatalogError) as caught:
        load_catalog(path)
    message = str(caught.value)
    assert str(path) in message and field in message
    assert "entry" in message


def test_what_is_missing_or_doubled_or_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"'reason'.*Add it"):
        load_catalog(write(tmp_path, {k: v for k, v in ENTRY.items() if k != "reason"}))
    with pytest.raises(CatalogError, match="used twice"):
        load_catalog(write(tmp_path, ENTRY, ENTRY))
    with pytest.raises(CatalogError, match="LUCA_CATALOG"):
        load_catalog(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    for text in ("sources: [", "other: 1", "[]"):
        bad.write_text(text)
        with pytest.raises(CatalogError, match=r"bad\.yaml"):
            load_catalog(bad)
