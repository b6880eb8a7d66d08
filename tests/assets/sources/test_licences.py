"""Every licence both ways: what must be read, and what it must never be taken for."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.sources.licences import (
    _FIXED,
    _SPDX_PORTS,
    creative_commons,
    licence_of,
    parse_licence,
    parse_statements,
)
from assets.sources.rights import TABLE, UNKNOWN, exclusion, rights_of

ELEMENTS = [(), ("nc",), ("sa",), ("nd",), ("nc", "sa"), ("nc", "nd")]
VERSIONS = ["1.0", "2.0", "2.5", "3.0", "4.0"]
NAMES = {"nc": "NonCommercial", "sa": "ShareAlike", "nd": "NoDerivatives"}


def spellings(elements: tuple[str, ...], version: str) -> list[str]:
    code = "-".join(("by", *elements))
    upper = code.upper()
    long = "-".join(("Attribution", *(NAMES[e] for e in elements)))
    spaced = " ".join(("Attribution", *(NAMES[e].replace("C", "-C", 1) for e in elements)))
    return [
        f"CC-{upper}-{version}",
        f"CC {upper} {version}",
        f"cc {code} {version}",
        f"http://creativecommons.org/licenses/{code}/{version}",
        f"https://creativecommons.org/licenses/{code}/{version}/",
        f"https://www.creativecommons.org/licenses/{code}/{version}/legalcode",
        f"//creativecommons.org/licenses/{code}/{version}/deed.fr",
        f"Creative Commons {long} {version} International License",
        f"Creative Commons {long} {version} International",
        f"This work is licensed under a Creative Commons {spaced} {version} Unported Licence.",
        f"CC {upper} {version} (https://creativecommons.org/licenses/{code}/{version}/)",
    ]


@pytest.mark.parametrize("elements", ELEMENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_creative_commons_in_every_spelling_keeps_its_elements(
    elements: tuple[str, ...], version: str
) -> None:
    expected = creative_commons(elements, version)
    assert expected is not None
    for spelling in spellings(elements, version):
        licence = parse_licence(spelling)
        assert licence == expected, spelling
        assert licence is not None
        assert licence.noncommercial == ("nc" in elements)
        assert licence.no_derivatives == ("nd" in elements)
        assert ("sa" in licence.elements) == ("sa" in elements)


def test_ports_of_creative_commons() -> None:
    us = parse_licence("http://creativecommons.org/licenses/by/3.0/us/")
    es = parse_licence("https://creativecommons.org/licenses/by-nc-sa/2.5/es/")
    assert us is not None and us.spdx == "CC-BY-3.0-US" and "CC-BY-3.0-US" in _SPDX_PORTS
    assert es is not None and es.spdx == "LicenseRef-CC-BY-NC-SA-2.5-ES" and es.noncommercial
    assert licence_of("LicenseRef-CC-BY-NC-SA-2.5-ES") == es


@pytest.mark.parametrize("spdx", sorted(_FIXED))
def test_every_identifier_is_read_as_itself_alone(spdx: str) -> None:
    licence = parse_licence(spdx)
    assert licence is not None and licence.spdx == spdx
    assert parse_licence(spdx.lower()) == licence


@pytest.mark.parametrize(
    ("stated", "spdx"),
    [
        ("https://creativecommons.org/publicdomain/zero/1.0/legalcode", "CC0-1.0"),
        ("Creative Commons Zero v1.0 Universal", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("Public domain", "LicenseRef-Public-Domain"),
        ("This is a work of the U.S. Government", "LicenseRef-US-Government-Work"),
        (
            "NASA content is generally not subject to copyright in the United States",
            "LicenseRef-NASA-Media-Guidelines",
        ),
        ("MIT License", "MIT"),
        ("https://opensource.org/licenses/MIT", "MIT"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("http://www.apache.org/licenses/LICENSE-2.0", "Apache-2.0"),
        ("GNU Free Documentation License 1.2 or later", "GFDL-1.2-or-later"),
        (
            "Text is available under the Creative Commons Attribution-ShareAlike License 4.0; "
            "additional terms may apply.",
            "CC-BY-SA-4.0",
        ),
        (
            "This is an open-access article distributed under the terms of the Creative Commons Attribution "
            "License, which permits unrestricted use, distribution, and reproduction in any medium.",
            "LicenseRef-CC-BY",
        ),
        (
            "This version is distributed under the terms of the Creative Commons Attribution "
            "Non-Commercial Licence 4.0. For commercial reproduction rights contact permissions@example.org",
            "CC-BY-NC-4.0",
        ),
        ("GFDL-1.2-or-later OR CC-BY-SA-3.0", "GFDL-1.2-or-later"),
        ("CC-BY-4.0 AND CC-BY-NC-4.0", "CC-BY-NC-4.0"),
        ("CC-BY-NC-4.0 OR CC-BY-4.0", "CC-BY-4.0"),
        ("© 2020 A. Author. All rights reserved.", "LicenseRef-All-Rights-Reserved"),
        ("Text and data mining is reserved under Article 4", "LicenseRef-Training-Reserved"),
        ("These works may not be used to train AI models", "LicenseRef-Training-Reserved"),
    ],
)
def test_statements_that_people_make(stated: str, spdx: str) -> None:
    licence = parse_licence(stated)
    assert licence is not None and licence.spdx == spdx


@pytest.mark.parametrize(
    "stated",
    [
        "",
        "info:eu-repo/semantics/openAccess",
        "Open access",
        "© 2020 The Authors",
        "free for personal use",
        "CC BY 4.0, not for commercial use",
        "Creative Commons Attribution 4.0, non-commercial only",
        "CC BY 4.0 until 2026; later versions CC BY-NC-SA 4.0",
        "This work is not licensed under CC BY 4.0",
        "CC BY 3.0 and CC BY 4.0",
        "CC BY 4.0. All rights reserved.",
        "https://creativecommons.org/licenses/by-sa-nd/4.0/",
        "https://creativecommons.org/licenses/sampling+/1.0/",
        "CC-BY-9.9",
        "proprietary",
    ],
)
def test_what_is_not_certain_is_no_licence(stated: str) -> None:
    licence = parse_licence(stated)
    assert licence is None
    assert rights_of(licence) == UNKNOWN
    assert exclusion(licence, stated, UNKNOWN)


def test_statements_about_one_item_must_agree() -> None:
    agreed = [
        "info:eu-repo/semantics/openAccess",
        "Creative Commons Attribution 4.0 International",
        "https://creativecommons.org/licenses/by/4.0/legalcode",
    ]
    licence = parse_statements(agreed)
    assert licence is not None and licence.spdx == "CC-BY-4.0"
    assert parse_statements([*agreed, "CC BY-NC 4.0"]) is None
    assert parse_statements([*agreed, "All rights reserved"]) is None
    assert parse_statements([]) is None


def test_the_table_is_complete_and_its_order_sound() -> None:
    for family, rights in TABLE.items():
        assert rights.reason, family
        assert rights.may_mirror or not rights.may_train
        assert rights.may_train or not rights.may_republish
    for elements in ELEMENTS:
        licence = creative_commons(elements, "4.0")
        assert rights_of(licence).may_train == (not {"nc", "nd"} & set(elements))


def test_no_two_spellings_of_different_licences_meet() -> None:
    read = {e: {parse_licence(s) for s in spellings(e, "4.0")} for e in ELEMENTS}
    for one, other in combinations(ELEMENTS, 2):
        assert not read[one] & read[other]


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_without_error(text: str) -> None:
    licence = parse_licence(text)
    assert licence is None or licence.spdx


@given(
    st.sampled_from(ELEMENTS), st.sampled_from(VERSIONS), st.sampled_from(["nc", "nd"]), st.integers(0, 10)
)
def test_a_restriction_is_never_lost_among_words(
    elements: tuple[str, ...], version: str, added: str, spelling: int
) -> None:
    """Two statements, one of them restricted: never a licence that lets us train."""
    wide = spellings((), version)[spelling % 11]
    narrow = spellings((added,), version)[(spelling + 3) % 11]
    licence = parse_licence(f"{wide}; {narrow}")
    assert not rights_of(licence).may_train


def test_golden_index_is_never_read_too_widely(golden: Path) -> None:
    with (golden / "INDEX.tsv").open(encoding="utf-8") as file:
        stated = {row["license"] for row in csv.DictReader(file, delimiter="\t")}
    for text in stated:
        if "-NC" in text or "-ND" in text:
            assert not rights_of(parse_licence(text)).may_train, text
