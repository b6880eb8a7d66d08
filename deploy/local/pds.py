"""NASA's PDS search API, version 1, over the items: queries, search-after, labels (PDS4).

The query grammar is the published one: comparisons, ``like``, and/or groups in parentheses that do
not mix. https://nasa-pds.github.io/pds-api/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from deploy.local.answer import Answer, element, json_answer
from deploy.local.items import Item, Library

TOKEN = re.compile(r'\s*(?:(\()|(\))|"([^"\r\n]*)"|(-?\d+(?:\.\d*)?)(?![\w:])|([A-Za-z_][A-Za-z0-9_.:/]*))')
OPERATORS = frozenset(("eq", "ne", "gt", "ge", "lt", "le", "like"))
Properties = dict[str, list[str]]
Test = Callable[[Properties], bool]


class QueryError(ValueError):
    """A query that the grammar does not take."""


def search(library: Library, parameters: Mapping[str, list[str]], kind: str | None = None) -> Answer:
    """``GET /products`` (or ``/classes/…``): summary and data; 400 with a message for a bad request."""
    first = {key: values[0] for key, values in parameters.items()}
    try:
        test = parse_query(first["q"]) if first.get("q") else lambda properties: True
        limit = int(first.get("limit", "100"))
        sort = _names(parameters, "sort")
        after = _names(parameters, "search-after")
        if limit < 0:
            raise QueryError("limit must not be negative")
        if after and len(after) != len(sort):
            raise QueryError("search-after needs sort, with as many values as sort has fields")
    except ValueError as error:
        return _error(400, str(error))
    found = [p for item in _living(library) if test(p := properties(library, item))]
    if kind is not None:
        found = [p for p in found if p["product_class"][0] == kind]
    hits = len(found)

    def position(product: Properties) -> list[str]:
        return [_first(product, field) for field in sort]

    if sort:
        found.sort(key=position)
    if after:
        found = [p for p in found if position(p) > after]
    shown = found[:limit]
    fields = _names(parameters, "fields")
    return json_answer(
        {
            "summary": {
                "q": first.get("q", ""),
                "hits": hits,
                "took": 3,
                "search_after": position(shown[-1]) if shown and sort else [],
                "limit": limit,
                "sort": sort,
                "properties": fields,
            },
            "data": [_product(p, fields) for p in shown],
        }
    )


def product(library: Library, identifier: str, tail: str | None = None) -> Answer:
    """One product by LID or LIDVID; ``tail`` is ``latest`` or ``all``. 404 if it is unknown."""
    matching = [
        p
        for item in _living(library)
        if identifier in ((p := properties(library, item))["lidvid"][0], p["lid"][0])
    ]
    if not matching:
        return _error(404, f"The lidvid {identifier} was not found", f"/products/{identifier}")
    if tail == "all":
        summary = {"q": "", "hits": len(matching), "took": 3, "search_after": [], "limit": 100, "sort": []}
        return json_answer({"summary": summary, "data": [_product(p, []) for p in matching]})
    # As strings, like the service: 13.0 stands before 2.0. A known fault of it.
    return json_answer(_product(max(matching, key=lambda p: p["vid"][0]), []))


def label(library: Library, identifier: str) -> Answer:
    """The PDS4 label of a product, by LIDVID with ``:`` written as ``_``."""
    for item in _living(library):
        if _label_name(properties(library, item)["lidvid"][0]) == identifier:
            return Answer(200, pds4_label(library, item).encode(), "application/xml")
    return Answer(404, b"no such label\n")


def properties(library: Library, item: Item) -> Properties:
    """The flat view of a product: every value an array of strings, as the service gives it."""
    assert item.path is not None, f"PDS item {item.id} has no file"
    fields = item.fields
    lid, vid = str(fields.get("lid", f"urn:nasa:pds:{item.set}:{item.id}")), str(fields.get("vid", "1.0"))
    md5 = item.stated_md5 or library.digests(item.path)[1]
    own_label = fields.get("label")
    label_url = (
        f"{library.origin}/files/{own_label}"
        if own_label
        else f"{library.origin}/labels/{_label_name(f'{lid}::{vid}')}.xml"
    )
    values: dict[str, Any] = {
        "lid": lid,
        "vid": vid,
        "lidvid": f"{lid}::{vid}",
        "title": item.title,
        "product_class": fields.get("product_class", "Product_Observational"),
        "pds:Identification_Area.pds:title": item.title,
        "pds:Identification_Area.pds:logical_identifier": lid,
        "pds:Identification_Area.pds:version_id": vid,
        "pds:Target_Identification.pds:name": fields.get("target", "null"),
        "pds:Time_Coordinates.pds:start_date_time": item.created,
        "pds:License_Information.pds:name": item.licence or "null",
        "pds:Citation_Information.pds:description": item.description or "null",
        "ops:Harvest_Info.ops:harvest_date_time": item.datestamp,
        "ops:Data_File_Info.ops:file_name": item.path.rpartition("/")[2],
        "ops:Data_File_Info.ops:file_ref": library.url(item),
        "ops:Data_File_Info.ops:file_size": str(library.size(item.path)),
        "ops:Data_File_Info.ops:md5_checksum": md5,
        "ops:Data_File_Info.ops:mime_type": item.media_type,
        "ops:Label_File_Info.ops:file_name": label_url.rpartition("/")[2],
        "ops:Label_File_Info.ops:file_ref": label_url,
    }
    return {key: [str(value)] for key, value in values.items()}


def pds4_label(library: Library, item: Item) -> str:
    """A short PDS4 label: identification, licence, and the file with its size and MD5."""
    values = {key: value[0] for key, value in properties(library, item).items()}
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1">\n<Identification_Area>\n'
        + element("logical_identifier", values["lid"])
        + element("version_id", values["vid"])
        + element("title", item.title)
        + element("information_model_version", "1.21.0.0")
        + element("product_class", values["product_class"])
        + (
            f"<License_Information>{element('name', item.licence)}</License_Information>"
            if item.licence
            else ""
        )
        + "\n</Identification_Area>\n<Observation_Area><Time_Coordinates>"
        + element("start_date_time", item.created)
        + "</Time_Coordinates><Target_Identification>"
        + element("name", values["pds:Target_Identification.pds:name"])
        + "</Target_Identification></Observation_Area>\n<File_Area_Observational><File>"
        + element("file_name", values["ops:Data_File_Info.ops:file_name"])
        + element("file_size", values["ops:Data_File_Info.ops:file_size"], unit="byte")
        + element("md5_checksum", values["ops:Data_File_Info.ops:md5_checksum"])
        + "</File></File_Area_Observational>\n</Product_Observational>\n"
    )


def parse_query(text: str) -> Test:
    """A test over properties from a ``q`` text; raises QueryError with the place."""
    tokens = _tokens(text)
    test, rest = _term(tokens, 0)
    if rest != len(tokens):
        raise QueryError(f"cannot read {tokens[rest]!r}: parentheses are needed around and/or")
    return test


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    position, text = 0, text.strip()
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            raise QueryError(f"cannot read the query at {text[position:]!r}")
        string = match[3]
        tokens.append(f'"{string}' if string is not None else match[0].strip())
        position = match.end()
    return tokens


def _term(tokens: list[str], at: int) -> tuple[Test, int]:
    def token(index: int) -> str:
        if index >= len(tokens):
            raise QueryError("the query ends too early")
        return tokens[index]

    if token(at).lower() == "not":
        inner, end = _term(tokens, at + 1)
        return (lambda p: not inner(p)), end
    if token(at) == "(":
        first, at = _term(tokens, at + 1)
        tests, joint = [first], ""
        while token(at) != ")":
            word = token(at).lower()
            if word not in ("and", "or") or (joint and word != joint):
                raise QueryError(f"{word!r}: and/or must not be mixed in one group")
            joint = word
            following, at = _term(tokens, at + 1)
            tests.append(following)
        combine = any if joint == "or" else all
        return (lambda p: combine(test(p) for test in tests)), at + 1
    field, operator, value = token(at), token(at + 1).lower(), token(at + 2)
    if operator not in OPERATORS:
        raise QueryError(f"{operator!r} is not one of {sorted(OPERATORS)}")
    return _comparison(field, operator, value.removeprefix('"')), at + 3


def _comparison(field: str, operator: str, value: str) -> Test:
    tests: dict[str, Callable[[str], bool]] = {
        "eq": lambda given: given == value,
        "ne": lambda given: given != value,
        "gt": lambda given: given > value,
        "ge": lambda given: given >= value,
        "lt": lambda given: given < value,
        "le": lambda given: given <= value,
        "like": lambda given: fnmatchcase(given.lower(), value.lower()),
    }
    test = tests[operator]
    return lambda p: any(test(given) for given in p.get(field, []))


def _product(values: Properties, fields: list[str]) -> dict[str, Any]:
    shown = values if not fields else {key: values.get(key, ["null"]) for key in fields}
    return {
        "id": values["lidvid"][0],
        "type": values["product_class"][0],
        "title": values["title"][0],
        "start_date_time": values["pds:Time_Coordinates.pds:start_date_time"][0],
        "metadata": {"label_url": values["ops:Label_File_Info.ops:file_ref"][0], "version": values["vid"][0]},
        "properties": shown,
    }


def _living(library: Library) -> list[Item]:
    return [item for item in library.items("pds") if not item.deleted]


def _names(parameters: Mapping[str, list[str]], key: str) -> list[str]:
    return [name for value in parameters.get(key, []) for name in value.split(",") if name]


def _first(product: Properties, field: str) -> str:
    return product.get(field, [""])[0]


def _label_name(lidvid: str) -> str:
    return lidvid.replace(":", "_")


def _error(status: int, message: str, request: str = "/products") -> Answer:
    return json_answer({"request": request, "message": message}, status)
