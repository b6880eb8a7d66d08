"""The rights gate: what a licence lets us do with an item. A table to be read by a lawyer.

Three uses. Mirror: keep an exact copy for our own work. Train: clean, cut, and learn a model that is then
served to anyone. Republish: hand out the cleaned documents under the same licence, with attribution.
Unknown means no, for all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assets.sources.licences import Family, Licence


@dataclass(frozen=True)
class Rights:
    """What may be done, and why."""

    may_mirror: bool
    may_train: bool
    may_republish: bool
    reason: str


TABLE: Mapping[Family, Rights] = {
    "public_domain": Rights(True, True, True, "No rights are claimed, or all are waived."),
    "attribution": Rights(
        True, True, True, "Any use with attribution; licence and attribution travel with every document."
    ),
    "share_alike": Rights(
        True,
        True,
        True,
        "Any use with attribution. Documents are republished under the same licence only; model weights are "
        "not an adaptation that we hand out as a text.",
    ),
    "copyleft": Rights(
        True, True, True, "A software licence: copies keep the licence and the source, which the item is."
    ),
    "restricted": Rights(
        True,
        False,
        False,
        "NC or ND: a copy for ourselves is allowed. Cleaning and cutting makes an adaptation (ND forbids "
        "sharing it), and a served model has users whose use we cannot bind to non-commercial (NC).",
    ),
    "no_training": Rights(
        True, False, False, "Upstream reserves text and data mining, or says that it must not train models."
    ),
    "reserved": Rights(False, False, False, "All rights reserved: no licence to copy."),
}

UNKNOWN = Rights(False, False, False, "No licence is stated, or it could not be read for certain.")


def rights_of(licence: Licence | None) -> Rights:
    """What may be done under a licence; nothing under none."""
    return UNKNOWN if licence is None else TABLE[licence.family]


def exclusion(licence: Licence | None, stated: str, rights: Rights) -> str:
    """Why an item is left out, naming the licence as upstream stated it; "" if it may train."""
    if rights.may_train:
        return ""
    name = licence.spdx if licence else "unknown licence"
    return f"{name}: upstream states {stated!r}. {rights.reason}" if stated else f"{name}. {rights.reason}"
