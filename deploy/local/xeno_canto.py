"""Xeno-canto's API, version 3, over the items: tags, pages, strings for numbers, restricted species."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.local.answer import Answer, json_answer
from deploy.local.items import Item, Library

TAG = re.compile(r'\s*(\w+):(?:"([^"]*)"|(\S+))')
TAGS = frozenset(
    [
        "gen",
        "sp",
        "ssp",
        "grp",
        "en",
        "rec",
        "cnt",
        "loc",
        "area",
        "lat",
        "lon",
        "box",
        "type",
        "sex",
        "stage",
        "q",
        "len",
        "smp",
        "year",
        "month",
        "since",
        "lic",
        "nr",
        "also",
        "method",
        "rmk",
        "seen",
        "playback",
        "temp",
        "regnr",
        "auto",
        "dvc",
        "mic",
        "alt",
        "colyear",
        "colmonth",
    ]
)
RESTRICTED = ("file", "file-name", "loc", "lat", "lon")


def answer(library: Library, parameters: Mapping[str, str], today: datetime | None = None) -> Answer:
    """A page of recordings. 401 without a key, 400 for a bad query, in the two shapes that were seen."""
    key = parameters.get("key", "")
    if not key or key == "invalid":
        message = "Missing or invalid 'key' parameter. Every account has a key."
        return json_answer({"error": "client_error", "message": message}, 401)
    try:
        tags = _tags(parameters.get("query", ""))
        page, per_page = _whole(parameters, "page", 1, 1, 10**6), _whole(parameters, "per_page", 100, 50, 500)
        found = [
            item
            for item in library.items("xeno_canto")
            if not item.deleted and all(_matches(item, tag, value, today) for tag, value in tags)
        ]
    except ValueError as error:
        return json_answer(
            {"status": "error", "error": {"code": "invalid_query", "message": str(error)}}, 400
        )
    shown = found[(page - 1) * per_page : page * per_page]
    return json_answer(
        {
            "numRecordings": str(len(found)),
            "numSpecies": str(len({(item.fields.get("gen"), item.fields.get("sp")) for item in found})),
            "page": page,
            "numPages": max(1, -(-len(found) // per_page)),
            "recordings": [recording(library, item) for item in shown],
        }
    )


def recording(library: Library, item: Item) -> dict[str, Any]:
    """One recording as the API writes it; ``item.fields`` win, dirty values included."""
    suffix = (item.path or "").rpartition(".")[2]
    values: dict[str, Any] = {
        "id": item.id,
        "gen": "",
        "sp": "",
        "ssp": "",
        "grp": item.set,
        "status": "identified",
        "en": item.title,
        "rec": item.creator,
        "cnt": "",
        "loc": "",
        "lat": "",
        "lon": "",
        "alt": "",
        "type": "",
        "sex": "",
        "stage": "",
        "method": "synthesis",
        "url": f"{library.origin}/{item.id}",
        "file": f"{library.origin}/{item.id}/download",
        "file-name": f"XC{item.id}.{suffix}",
        "lic": item.licence,
        "q": "A",
        "length": "0:03",
        "time": "06:00",
        "date": item.created[:10],
        "uploaded": item.datestamp[:10],
        "also": [],
        "rmk": item.description,
        "animal-seen": "no",
        "playback-used": "no",
        "smp": "16000",
    }
    fields = {key: value for key, value in item.fields.items() if key != "restricted"}
    values |= {
        key: value.replace("{origin}", library.origin.partition(":")[2]) if isinstance(value, str) else value
        for key, value in fields.items()
    }
    if item.fields.get("restricted"):
        values |= dict.fromkeys(RESTRICTED)
        values["_meta"] = {"redacted_fields": dict.fromkeys(RESTRICTED, "restricted_species")}
    return values


def _tags(query: str) -> list[tuple[str, str]]:
    tags: list[tuple[str, str]] = []
    position = 0
    text = query.strip()
    while position < len(text):
        match = TAG.match(text, position)
        if match is None or match[1] not in TAGS:
            raise ValueError(f"the query takes tags only, such as grp:birds; cannot read {text[position:]!r}")
        tags.append((match[1], match[2] if match[2] is not None else match[3]))
        position = match.end()
    if not tags:
        raise ValueError("the query is empty")
    return tags


def _whole(parameters: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = parameters.get(name, str(default))
    if not text.isdigit() or not least <= int(text) <= most:
        raise ValueError(f"{name} must be a number from {least} to {most}")
    return int(text)


def _matches(item: Item, tag: str, value: str, today: datetime | None) -> bool:
    if tag == "grp":
        return item.set == value
    if tag == "nr":
        low, _, high = value.partition("-")
        return int(low) <= int(item.id) <= int(high or low)
    if tag == "since":
        if value.isdigit():
            start = ((today or datetime.now(UTC)) - timedelta(days=int(value))).strftime("%Y-%m-%d")
        else:
            start = value
        return item.datestamp[:10] >= start
    if tag == "year":
        return item.created[:4] == value
    if tag == "lic":
        return value.lower() in (item.licence or "").lower()
    if tag == "en":
        return value.lower().lstrip("=") in item.title.lower()
    if tag == "rec":
        return value.lower() in item.creator.lower()
    field = str(item.fields.get(tag, ""))
    return field.lower() == value[1:].lower() if value.startswith("=") else value.lower() in field.lower()
