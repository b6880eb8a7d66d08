"""The gate: a release needs a card of this very checkpoint on which every criterion holds.

Pure functions on the card and the manifests. The criteria are compared again here: a card that merely says
"passed" is not believed, nor one that was measured against laxer limits than the recipe now states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resources.manifest import Manifest

COMPARISONS = {"<=": float.__le__, ">=": float.__ge__}


@dataclass(frozen=True)
class Criterion:
    """One line of the gate: `value comparison threshold` must hold."""

    name: str
    value: float | None
    comparison: str
    threshold: float
    passed: bool

    def sentence(self) -> str:
        """For people: what was measured and what was wanted."""
        value = "not measured" if self.value is None else f"{self.value:g}"
        return f"{self.name}: {value}, wanted {self.comparison} {self.threshold:g}"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


class GateError(ValueError):
    """A card that the gate cannot read; the message names the field."""


def read_criteria(card: Mapping[str, Any]) -> list[Criterion]:
    """The card's `thresholds`, each decided anew; GateError naming the field if one cannot be read."""
    rows = card.get("thresholds")
    if not isinstance(rows, list) or not rows:
        raise GateError("card.json: thresholds: missing or empty. Materialize the card again.")
    criteria = []
    for position, row in enumerate(rows):
        try:
            name, comparison = str(row["name"]), str(row["comparison"])
            limit, value = float(row["limit"]), row["value"]
            holds = COMPARISONS[comparison]
            measured = None if value is None else float(value)
        except (KeyError, TypeError, ValueError) as error:
            raise GateError(
                f"card.json: thresholds[{position}]: {type(error).__name__} {error}. Materialize it again."
            ) from None
        passed = measured is not None and math.isfinite(measured) and holds(measured, limit)
        criteria.append(Criterion(name, measured, comparison, limit, passed and row.get("passed") is True))
    return criteria


def refusals(
    checkpoint: Manifest, card_manifest: Manifest, card: Mapping[str, Any], gate: Mapping[str, float]
) -> list[str]:
    """Every reason not to release, for people; empty: the gate is open. `gate` is the recipe's section."""
    reasons = []
    judged = card_manifest.inputs.get(checkpoint.name)
    if judged != checkpoint.version:
        reasons.append(
            f"{card_manifest.name} {card_manifest.version} judges {checkpoint.name} {judged or '(none)'}, "
            f"not {checkpoint.version}. Materialize the card again."
        )
    try:
        criteria = {criterion.name: criterion for criterion in read_criteria(card)}
    except GateError as error:
        return [*reasons, str(error)]
    reasons += [criterion.sentence() for criterion in criteria.values() if not criterion.passed]
    for name, threshold in sorted(gate.items()):
        criterion = criteria.get(name)
        if criterion is None:
            reasons.append(f"{name}: not on the card, wanted {threshold:g}")
        elif criterion.threshold != float(threshold):
            reasons.append(
                f"{name}: the card was judged with {criterion.threshold:g}, the recipe says {threshold:g}. "
                "Materialize the card again."
            )
    return reasons
