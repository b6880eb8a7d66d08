"""mixture.yaml, the weights of strata with their reasons, the split by cluster, the report."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.mixture.config import MixtureConfig, MixtureError, load_mixture
from assets.mixture.plan import Member, draw, heldout_clusters, plan_rows, weigh
from assets.mixture.report import plot, readme
from assets.mixture.statistics import count
from assets.mixture.weights import ImpossibleBounds
from resources.settings import PROJECT

SHIPPED = PROJECT / "assets" / "mixture" / "mixture.yaml"


def config(**changes: Any) -> MixtureConfig:
    return load_mixture(SHIPPED).model_copy(update=changes)


def row(
    name: str, modality: str = "text", domain: str = "biology", characters: int = 4000, **more: Any
) -> dict[str, Any]:
    return {
        "document_id": name,
        "source": name.split("/")[0],
        "kind": "document",
        "modality": modality,
        "domain": domain,
        "dimension": "factual",
        "language": "en",
        "region": "global",
        "tradition": "none",
        "licence": "CC0-1.0",
        "characters": characters,
        "quality": "{}",
    } | more


def collection() -> list[dict[str, Any]]:
    rows = [row(f"books/{i}") for i in range(60)]
    rows += [row(f"essays/{i}", domain="philosophy", language="de") for i in range(12)]
    rows += [row(f"genome/{i}", "dna", characters=10_000) for i in range(20)]
    rows += [row(f"pictures/{i}", "image", "astrobiology", 0) for i in range(10)]
    rows += [row(f"birds/{i}", "audio", characters=0, quality='{"seconds": 3}') for i in range(6)]
    return rows + [row(f"talk/{i}", kind="dialogue", characters=200) for i in range(50)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "x"}, "field 'seed'"),
        ({"extra": 1}, "field 'extra'"),
        (
            {"strata": [{"pattern": "*", "weight": 1, "floor": 0.5, "cap": 0.2, "reason": "ten letters"}]},
            "above cap",
        ),
        ({"strata": [{"pattern": "*", "weight": 1}]}, "field 'strata.0.reason'"),
        ({"max_repetitions": 0.5}, "field 'max_repetitions'"),
    ],
)
def test_bad_mixtures_name_the_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "mixture.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(SHIPPED.read_text()) | change))
    with pytest.raises(MixtureError, match=message) as caught:
        load_mixture(file)
    assert str(file) in str(caught.value)
    with pytest.raises(MixtureError, match="no such file"):
        load_mixture(tmp_path / "none.yaml")


def test_weights_trim_genomes_and_boost_the_small_with_reasons() -> None:
    weighed = {w.stratum: w for w in weigh(count(collection(), config().tokens_per), config())}
    assert sum(w.weight for w in weighed.values()) == pytest.approx(1, abs=1e-9)
    genome = weighed["dna/biology"]
    assert genome.weight < genome.natural and "trimmed" in genome.reason
    assert weighed["text/philosophy"].factor > 1 and "boosted" in weighed["text/philosophy"].reason
    assert all(w.factor <= config().max_repetitions + 1e-9 for w in weighed.values())
    assert "limit of 4 repetitions" in weighed["audio/biology"].reason
    assert weighed["dialogue/biology"].count.documents == 50


def test_impossible_mixtures_and_unmatched_strata_say_so() -> None:
    statistics = count(collection()[72:92], config().tokens_per)
    with pytest.raises(ImpossibleBounds, match=r"caps sum to 0\.15.*dna/biology"):
        weigh(statistics, config())
    with pytest.raises(MixtureError, match="no pattern matches the stratum 'dna/biology'"):
        weigh(statistics, config(strata=[r for r in config().strata if r.pattern == "text/*"]))


members = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["text/biology", "dna/biology", "dialogue/alife"])),
    min_size=1,
    max_size=150,
).map(
    lambda pairs: [
        Member(f"d/{i:03d}", "d", stratum, f"c/{cluster}") for i, (cluster, stratum) in enumerate(pairs)
    ]
)


@settings(deadline=None)
@given(members, st.integers(0, 99))
def test_the_split_never_tears_a_cluster(found: list[Member], seed: int) -> None:
    held = heldout_clusters(found, config(seed=seed))
    rows = list(plan_rows(found, held))
    assert [r["document_id"] for r in rows] == sorted(m.document_id for m in found)
    sides: dict[str, set[str]] = {}
    for r in rows:
        sides.setdefault(r["cluster"], set()).add(r["split"])
    assert all(len(s) == 1 for s in sides.values())
    assert heldout_clusters(list(reversed(found)), config(seed=seed)) == held


def test_small_strata_give_none_and_larger_ones_at_least_one() -> None:
    def held(documents: int) -> int:
        found = [Member(f"d/{i}", "d", "text/biology", f"d/{i}") for i in range(documents)]
        return len(heldout_clusters(found, config()))

    assert held(7) == 0 and held(8) >= 1
    assert 0.04 < held(5000) / 5000 < 0.08


def test_growth_moves_no_document_into_training() -> None:
    small = [Member(f"d/{i}", "d", "text/biology", f"d/{i}") for i in range(300)]
    large = small + [Member(f"e/{i}", "e", "text/biology", f"e/{i}") for i in range(900)]
    assert heldout_clusters(small, config()) <= heldout_clusters(large, config())
    assert 0 <= draw("x", 1) < 1 and draw("x", 1) != draw("x", 2)


def test_the_report_says_why_and_is_the_same_every_time() -> None:
    statistics = count(collection(), config().tokens_per)
    weighed = weigh(statistics, config())
    splits = {w.stratum: Counter(heldout=1) for w in weighed}
    text = readme(weighed, statistics, splits, {"near_duplicate": 3}, config())
    assert "| dna/biology | 20 |" in text and "trimmed" in text and "3 near duplicates" in text
    for label in ("domain", "modality", "language", "region", "tradition", "licence"):
        assert f"## By {label}" in text
    assert text == readme(weighed, statistics, splits, {"near_duplicate": 3}, config())
    svg, png = plot(weighed)
    assert (svg, png) == plot(weighed)
    assert b"<dc:date>" not in svg and png.startswith(b"\x89PNG")
