from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assets.endpoint.gate import GateError, read_criteria, refusals
from resources.manifest import Manifest
from resources.store import Store
from tests.assets.endpoint.small_world import publish

GATE = {"max_perplexity_ratio": 0.9, "min_probe_accuracy": 0.5}


def row(
    name: str, value: float | None, comparison: str, limit: float, passed: object = True
) -> dict[str, Any]:
    return {"name": name, "value": value, "comparison": comparison, "limit": limit, "passed": passed}


def card(**changes: Any) -> dict[str, Any]:
    rows = {
        "max_perplexity_ratio": row("max_perplexity_ratio", 0.2, "<=", 0.9),
        "min_probe_accuracy": row("min_probe_accuracy", 0.8, ">=", 0.5),
        **changes,
    }
    return {"thresholds": [r for r in rows.values() if r is not None]}


@pytest.fixture
def judged(tmp_path: Path) -> tuple[Manifest, Manifest]:
    store = Store.open(tmp_path.as_uri())
    checkpoint = publish(store, "checkpoints/instructed/small", {"config.json": b"{}"})
    return checkpoint, publish(store, "evaluations/card/small", {"card.json": b"{}"}, [checkpoint])


def test_the_gate_opens_when_every_criterion_holds(judged: tuple[Manifest, Manifest]) -> None:
    assert refusals(*judged, card(), GATE) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (row("min_probe_accuracy", 0.4, ">=", 0.5, False), "min_probe_accuracy: 0.4, wanted >= 0.5"),
        (row("min_probe_accuracy", 0.4, ">=", 0.5, True), "min_probe_accuracy: 0.4, wanted >= 0.5"),
        (row("min_probe_accuracy", 0.6, ">=", 0.5, False), "min_probe_accuracy"),
        (row("min_probe_accuracy", 0.6, ">=", 0.5, "yes"), "min_probe_accuracy"),
        (row("min_probe_accuracy", None, ">=", 0.5), "not measured"),
        (row("min_probe_accuracy", float("nan"), ">=", 0.5), "min_probe_accuracy"),
        (row("min_probe_accuracy", 0.2, ">=", 0.1), "judged with 0.1, the recipe says 0.5"),
        (None, "min_probe_accuracy: not on the card"),
        (row("min_probe_accuracy", 0.6, "~", 0.5), r"thresholds[1]"),
    ],
)
def test_each_failure_is_named(judged: tuple[Manifest, Manifest], changed: Any, words: str) -> None:
    reasons = refusals(*judged, card(min_probe_accuracy=changed), GATE)
    assert any(words in reason for reason in reasons), reasons


def test_a_card_of_another_checkpoint_opens_nothing(
    judged: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    store = Store.open(tmp_path.as_uri())
    newer = publish(store, "checkpoints/instructed/small", {"config.json": b'{"newer": true}'})
    reasons = refusals(newer, judged[1], card(), GATE)
    assert len(reasons) == 1 and judged[0].version in reasons[0] and newer.version in reasons[0]


@pytest.mark.parametrize("bad", [{}, {"thresholds": []}, {"thresholds": "all"}, {"thresholds": [1]}])
def test_an_unreadable_card_is_refused_with_the_field(judged: tuple[Manifest, Manifest], bad: Any) -> None:
    with pytest.raises(GateError, match="thresholds"):
        read_criteria(bad)
    assert refusals(*judged, bad, GATE)
