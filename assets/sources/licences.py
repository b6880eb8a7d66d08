"""Licences as people state them, read into typed ones. What cannot be read for certain is None.

The danger is taking a narrow licence for a wide one (BY-NC for BY), so: every statement must be
understood, all statements must agree, and a word that contradicts the licence found voids it.
Identifiers are SPDX's (https://spdx.org/licenses/), or LicenseRef-… where SPDX has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Family = Literal[
    "public_domain", "attribution", "share_alike", "copyleft", "restricted", "no_training", "reserved"
]


@dataclass(frozen=True)
class Licence:
    """A licence: its SPDX id, its family, and for Creative Commons its elements and version."""

    spdx: str
    family: Family
    elements: frozenset[str] = frozenset()
    version: str = ""
    jurisdiction: str = ""

    @property
    def noncommercial(self) -> bool:
        return "nc" in self.elements

    @property
    def no_derivatives(self) -> bool:
        return "nd" in self.elements


_CC_VERSIONS = ("1.0", "2.0", "2.1", "2.5", "3.0", "4.0")
# Ports that SPDX lists by a name of their own; the rest are LicenseRef-….
_SPDX_PORTS = {
    *("CC-BY-2.5-AU", "CC-BY-3.0-AT", "CC-BY-3.0-AU", "CC-BY-3.0-DE", "CC-BY-3.0-IGO", "CC-BY-3.0-NL"),
    *("CC-BY-3.0-US", "CC-BY-NC-3.0-DE", "CC-BY-NC-ND-3.0-DE", "CC-BY-NC-ND-3.0-IGO", "CC-BY-NC-SA-2.0-DE"),
    *("CC-BY-NC-SA-2.0-FR", "CC-BY-NC-SA-2.0-UK", "CC-BY-NC-SA-3.0-DE", "CC-BY-NC-SA-3.0-IGO"),
    *("CC-BY-ND-3.0-DE", "CC-BY-SA-2.0-UK", "CC-BY-SA-2.1-JP", "CC-BY-SA-3.0-AT", "CC-BY-SA-3.0-DE"),
    "CC-BY-SA-3.0-IGO",
}
_FIXED: dict[str, Family] = {
    "CC0-1.0": "public_domain",
    "CC-PDM-1.0": "public_domain",
    "PDDL-1.0": "public_domain",
    "Unlicense": "public_domain",
    "LicenseRef-Public-Domain": "public_domain",
    "LicenseRef-US-Government-Work": "public_domain",
    "LicenseRef-NASA-Media-Guidelines": "public_domain",
    "LicenseRef-INSDC": "public_domain",
    "MIT": "attribution",
    "MIT-0": "attribution",
    "BSD-2-Clause": "attribution",
    "BSD-3-Clause": "attribution",
    "ISC": "attribution",
    "Apache-2.0": "attribution",
    "ODC-By-1.0": "attribution",
    "OGL-UK-3.0": "attribution",
    "etalab-2.0": "attribution",
    "LicenseRef-Biopython": "attribution",
    "GFDL-1.1-only": "share_alike",
    "GFDL-1.1-or-later": "share_alike",
    "GFDL-1.2-only": "share_alike",
    "GFDL-1.2-or-later": "share_alike",
    "GFDL-1.3-only": "share_alike",
    "GFDL-1.3-or-later": "share_alike",
    "LicenseRef-GFDL": "share_alike",
    "ODbL-1.0": "share_alike",
    "GPL-2.0-only": "copyleft",
    "GPL-2.0-or-later": "copyleft",
    "GPL-3.0-only": "copyleft",
    "GPL-3.0-or-later": "copyleft",
    "LGPL-2.1-only": "copyleft",
    "LGPL-2.1-or-later": "copyleft",
    "LGPL-3.0-only": "copyleft",
    "LGPL-3.0-or-later": "copyleft",
    "AGPL-3.0-only": "copyleft",
    "AGPL-3.0-or-later": "copyleft",
    "LicenseRef-Training-Reserved": "no_training",
    "LicenseRef-All-Rights-Reserved": "reserved",
}
_BY_ID = {spdx.lower(): spdx for spdx in _FIXED}
_DEPRECATED = {
    "gpl-2.0": "GPL-2.0-only",
    "gpl-2": "GPL-2.0-only",
    "gpl-2.0+": "GPL-2.0-or-later",
    "gpl-2+": "GPL-2.0-or-later",
    "gpl-3.0": "GPL-3.0-only",
    "gpl-3": "GPL-3.0-only",
    "gpl-3.0+": "GPL-3.0-or-later",
    "lgpl-2.1": "LGPL-2.1-only",
    "lgpl-3.0": "LGPL-3.0-only",
    "lgpl-3.0+": "LGPL-3.0-or-later",
    "agpl-3.0": "AGPL-3.0-only",
    "gfdl-1.2": "GFDL-1.2-only",
    "gfdl-1.2+": "GFDL-1.2-or-later",
    "gfdl-1.3": "GFDL-1.3-only",
    "gfdl": "LicenseRef-GFDL",
    "cc0": "CC0-1.0",
    "cc-0": "CC0-1.0",
    "cc zero": "CC0-1.0",
    "pdm": "CC-PDM-1.0",
}
# Phrases, most telling first: the whole statement, or a part of it, says this.
_PHRASES: tuple[tuple[str, str], ...] = (
    (r"creative commons (?:cc0|zero)(?: v?1\.0)?(?: universal)?|cc0(?:[ -]1\.0)?\b", "CC0-1.0"),
    (r"public domain mark(?: 1\.0)?", "CC-PDM-1.0"),
    (
        r"(?:work|product) of the (?:u\.?s\.?|united states) (?:federal )?government"
        r"|(?:u\.?s\.?|united states) gov(?:ernment|t)?\.? (?:work|public domain)",
        "LicenseRef-US-Government-Work",
    ),
    (
        r"nasa (?:content|media|imagery|images?)?[^.]{0,40}(?:not subject to copyright|not copyrighted"
        r"|generally not)|nasa (?:media|image|images) (?:usage )?(?:guidelines|policy)"
        r"|courtesy (?:of )?nasa/jpl-caltech",
        "LicenseRef-NASA-Media-Guidelines",
    ),
    (r"public[ -]domain|gemeinfrei|domaine public|dominio p[uú]blico", "LicenseRef-Public-Domain"),
    (r"insdc|(?:ddbj|ena|embl)[^.]{0,20}genbank[^.]{0,40}(?:no use )?restrictions?", "LicenseRef-INSDC"),
    (
        r"apache(?: software)? licen[cs]e,? ?(?:v(?:ersion)? ?)?2(?:\.0)?|apache\.org/licenses/license-2\.0",
        "Apache-2.0",
    ),
    (r"\bmit licen[cs]e\b|opensource\.org/licenses?/mit\b", "MIT"),
    (
        r"bsd[ -]3[ -]clause|(?:new|revised|modified) bsd|opensource\.org/licenses?/bsd-3-clause",
        "BSD-3-Clause",
    ),
    (r"bsd[ -]2[ -]clause|simplified bsd|opensource\.org/licenses?/bsd-2-clause", "BSD-2-Clause"),
    (
        r"gnu lesser general public licen[cs]e.{0,20}3(?:\.0)?(?:\+| or later| or any later)",
        "LGPL-3.0-or-later",
    ),
    (r"gnu general public licen[cs]e.{0,20}3(?:\.0)?(?:\+| or later|.{0,20}any later)", "GPL-3.0-or-later"),
    (r"gnu general public licen[cs]e.{0,20}2(?:\.0)?(?:\+| or later|.{0,20}any later)", "GPL-2.0-or-later"),
    (
        r"(?:gnu free documentation licen[cs]e|gfdl).{0,20}1\.2.{0,6}(?:\+|or(?: any)? later)",
        "GFDL-1.2-or-later",
    ),
    (
        r"(?:gnu free documentation licen[cs]e|gfdl).{0,20}1\.3.{0,6}(?:\+|or(?: any)? later)",
        "GFDL-1.3-or-later",
    ),
    (r"gnu free documentation licen[cs]e|gnu\.org/(?:copyleft|licenses)/fdl|\bgfdl\b", "LicenseRef-GFDL"),
    (r"open data commons attribution|\bodc-by\b", "ODC-By-1.0"),
    (r"open database licen[cs]e|\bodbl\b", "ODbL-1.0"),
    (r"open government licen[cs]e v?3(?:\.0)?", "OGL-UK-3.0"),
    (
        r"(?:\bai\b|machine[ -]learning|text and data mining|\btdm\b|model training)[^.]{0,80}"
        r"(?:reserved|prohibited|not (?:permitted|allowed)|forbidden|requires? permission)"
        r"|(?:no|not|may not be)[^.]{0,30}(?:used )?(?:to train|for training|for ai|\btdm\b)|ai-train ?= ?n",
        "LicenseRef-Training-Reserved",
    ),
    (
        r"all rights? reserved|tous droits r[ée]serv[ée]s|alle rechte vorbehalten"
        r"|todos los derechos reservados",
        "LicenseRef-All-Rights-Reserved",
    ),
)
_PHRASE_PATTERNS = tuple((re.compile(p), spdx) for p, spdx in _PHRASES)

_URL = re.compile(
    r"(?:https?:)?(?://)?(?:www\.)?creativecommons\.org/(licen[cs]es|publicdomain)/([a-z+-]+)"
    r"(?:/(\d\.\d))?(?:/(?!legalcode|deed|rdf)([a-z]{2,3})\b)?"
)
_TAG = re.compile(
    r"\bcc[ -]?by((?:[ -](?:nc|sa|nd))*)(?![a-z])(?:[ -]?v?(\d\.\d)\b)?(?:[ -](igo|[a-z]{2})\b(?!\w))?"
)
_ELEMENT = r"non[ -]?commercial(?: use)?|share[ -]?alike|no[ -]?deriv(?:ative)?s?(?: works?)?|nc\b|sa\b|nd\b"
_NAME = re.compile(
    r"(?:creative commons[ :,-]*(?:\(cc\))?[ -]*)attribution((?:[ ,/_-]+(?:and )?(?:" + _ELEMENT + r"))*)"
    r"(?:[ -]*(?:\d\.\d)?[ -]*"
    r"(?:international|unported|generic|intergovernmental|igo|licen[cs]e|public|version|v)?){0,4}"
)
_VERSION = re.compile(r"(?<![\d.])([1-4]\.[015])(?!\.?\d)")
_NEGATED = re.compile(r"\b(?:not|no longer|never) (?:been |be )?(?:under|available|licen[cs]ed)\b")
_ACCESS = re.compile(r"^(?:info:eu-repo/semantics/\w+|open ?access|free|restricted access|embargoed)$")
_SPACES = re.compile(r"\s+")


def licence_of(spdx: str) -> Licence | None:
    """The licence of an exact SPDX id (letter case aside), Creative Commons included."""
    key = spdx.strip().lower()
    name = _BY_ID.get(key) or _DEPRECATED.get(key)
    if name:
        return Licence(name, _FIXED[name])
    match = re.fullmatch(r"(?:licenseref-)?cc-by((?:-(?:nc|sa|nd))*)(?:-(\d\.\d))?(?:-([a-z]{2,3}))?", key)
    if match and (not match[2] or match[2] in _CC_VERSIONS):
        return creative_commons(match[1].split("-"), match[2] or "", match[3] or "")
    return None


def creative_commons(elements: Iterable[str], version: str = "", jurisdiction: str = "") -> Licence | None:
    """A Creative Commons attribution licence; None for elements that exclude each other (SA
    with ND) and for versions that there are not."""
    chosen = frozenset(e for e in elements if e and e != "by")
    if not chosen <= {"nc", "sa", "nd"} or {"sa", "nd"} <= chosen or version not in ("", *_CC_VERSIONS):
        return None
    name = "-".join(["CC-BY", *(e.upper() for e in ("nc", "nd", "sa") if e in chosen)])
    jurisdiction = "" if jurisdiction.lower() in ("", "int", "unported") else jurisdiction.upper()
    parts = "-".join(filter(None, [name, version, jurisdiction]))
    known = bool(version) and (not jurisdiction or parts in _SPDX_PORTS)
    family: Family = "attribution"
    if chosen & {"nc", "nd"}:
        family = "restricted"
    elif "sa" in chosen:
        family = "share_alike"
    return Licence(parts if known else f"LicenseRef-{parts}", family, chosen | {"by"}, version, jurisdiction)


def normal(stated: str) -> str:
    """A statement for comparing: lower case, one kind of dash and quote, white space collapsed."""
    text = stated.strip().lower().translate(_PUNCTUATION)
    return _SPACES.sub(" ", text).strip(" .;,")


_PUNCTUATION = str.maketrans(
    {"‐": "-", "‑": "-", "–": "-", "—": "-", "’": "'", "“": '"', "”": '"', "\xa0": " "}
)


def parse_licence(stated: str) -> Licence | None:
    """The licence that one statement names, or None if it names none, or more than one.

    Takes SPDX ids, Creative Commons addresses (any version, port, deed or legal code), tags (CC BY-SA 3.0)
    and names, other licences' names and addresses, public-domain phrases, JATS <license> prose. "A OR B"
    lets the taker choose: the wider one is taken; "A AND B" binds to both: the narrower one.
    """
    text = normal(stated)
    if not text or _ACCESS.match(text):
        return None
    exact = licence_of(text)
    if exact is not None:
        return exact
    expression = _expression(text)
    if expression is not None:
        return expression
    if _NEGATED.search(text):
        return None
    return _agreed(_mentions(text), text)


def parse_statements(statements: Iterable[str]) -> Licence | None:
    """The licence that several statements about one item agree on; None if any two disagree.

    Statements that name no licence (an access right, a copyright line) do not count, unless they
    reserve rights.
    """
    found = [(s, parse_licence(s)) for s in statements if s.strip()]
    unread = [s for s, licence in found if licence is None and _mentions(normal(s))]
    if unread:
        return None  # it names licences, but not one that is certain
    return _merged([licence for _, licence in found if licence is not None])


def _expression(text: str) -> Licence | None:
    """An SPDX expression of known ids: OR takes the widest, AND (or +) the narrowest."""
    for pattern, choose in ((r"\s+or\s+", min), (r"\s+(?:and|\+)\s+", max)):
        parts = re.split(pattern, text.strip("()"))
        if len(parts) > 1:
            licences = [licence_of(p.strip("() ")) for p in parts]
            known = [licence for licence in licences if licence is not None]
            if len(known) == len(parts):
                return choose(known, key=breadth)
    return None


_BREADTH: tuple[Family, ...] = (
    *("public_domain", "attribution", "share_alike", "copyleft"),
    *("restricted", "no_training", "reserved"),
)


def breadth(licence: Licence) -> tuple[int, int, str]:
    """Sorts licences from the widest permission to the narrowest."""
    return _BREADTH.index(licence.family), len(licence.elements), licence.spdx


def _mentions(text: str) -> list[Licence]:
    """Every licence that a text names, in no order."""
    found: list[Licence] = []
    rest = text
    for match in _URL.finditer(text):
        licence = _from_url(match)
        if licence is None:
            return [*found, *_CONTRADICTION]
        found.append(licence)
    rest = _URL.sub(" ", rest)
    for match in _NAME.finditer(rest):
        elements = [_element(e) for e in re.findall(_ELEMENT, match[1])]
        version = _VERSION.search(rest[match.start() : match.end() + 40])
        licence = creative_commons(elements, version[1] if version else "")
        found.extend([licence] if licence else _CONTRADICTION)
    rest = _NAME.sub(" ", rest)
    for match in _TAG.finditer(rest):
        elements = re.findall("nc|sa|nd", match[1])
        licence = creative_commons(elements, match[2] or "", match[3] or "")
        found.extend([licence] if licence else _CONTRADICTION)
    rest = _TAG.sub(" ", rest)
    for pattern, spdx in _PHRASE_PATTERNS:
        if pattern.search(rest):
            found.append(Licence(spdx, _FIXED[spdx]))
            rest = pattern.sub(" ", rest)
    return found


# Two licences that never agree: stands for a Creative Commons mention that makes no sense.
_CONTRADICTION = (
    Licence("LicenseRef-All-Rights-Reserved", "reserved"),
    Licence("LicenseRef-Training-Reserved", "no_training"),
)


def _from_url(match: re.Match[str]) -> Licence | None:
    kind, code, version, jurisdiction = match.groups()
    if kind == "publicdomain":
        names = {"zero": "CC0-1.0", "mark": "CC-PDM-1.0", "cc0": "CC0-1.0"}
        return licence_of(names.get(code, "LicenseRef-Public-Domain"))
    if code == "publicdomain":
        return licence_of("LicenseRef-Public-Domain")
    parts = code.split("-")
    if "by" not in parts:
        return None  # 1.0 licences without attribution, sampling: not worth a reading that may err
    return creative_commons(parts, version or "", jurisdiction or "")


def _element(word: str) -> str:
    squeezed = re.sub(r"[ -]", "", word)
    if squeezed.startswith(("noncommercial", "nc")):
        return "nc"
    return "sa" if squeezed.startswith(("sharealike", "sa")) else "nd"


_NC_WORDS = re.compile(
    r"non[ -]?commercial|not for (?:commercial|profit)|commercial (?:use|re-?use)[^.]{0,30}(?:not|prohibited)"
)
_ND_WORDS = re.compile(
    r"no[ -]?derivative|without (?:change|modification)|may not be (?:changed|modified|altered)"
)
_SA_WORDS = re.compile(r"share[ -]?alike")


def _agreed(found: list[Licence], text: str) -> Licence | None:
    licence = _merged(found)
    if licence is None:
        return None
    if licence.family in ("restricted", "no_training", "reserved"):
        return licence
    # Prose that adds a restriction the licence does not have: not certain.
    without = _URL.sub(" ", text)
    if _NC_WORDS.search(without) or _ND_WORDS.search(without):
        return None
    if _SA_WORDS.search(without) and "sa" not in licence.elements:
        return None
    return licence


def _merged(found: list[Licence]) -> Licence | None:
    """The one licence behind several mentions: an unversioned mention agrees with a versioned one."""
    distinct = {licence.spdx: licence for licence in found}
    if not distinct:
        return None
    licences = list(distinct.values())
    families = {(licence.family, licence.elements) for licence in licences}
    if len(families) > 1:
        return None
    if all(licence.family == "public_domain" for licence in licences):
        return min(licences, key=lambda licence: (licence.spdx.startswith("LicenseRef"), licence.spdx))
    versioned = [licence for licence in licences if licence.version]
    if licences[0].elements:
        stated = {licence.version for licence in versioned}
        ported = [licence for licence in versioned if licence.jurisdiction]
        if len(stated) > 1 or len({licence.jurisdiction for licence in ported}) > 1:
            return None
        return next(iter(ported), next(iter(versioned), licences[0]))
    return licences[0] if len(licences) == 1 else None
