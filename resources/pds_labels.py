"""What a PDS label says, as plain data: PDS4 (XML) and PDS3 (ODL, attached or detached).

PDS4: https://pds.nasa.gov/datastandards/documents/. PDS3: Standards Reference, chapter 12 (ODL); a
pointer ``^IMAGE = ("X.IMG", 4)`` names a 1-based record of RECORD_BYTES bytes, ``4 <BYTES>`` a 1-based
byte.
"""

from __future__ import annotations

import re
from typing import Any

from resources.http_errors import BadResponse
from resources.xml import Element, child, local_name, parse_xml, text_of

_STATEMENT = re.compile(r"^\s*(\^?[A-Za-z][A-Za-z0-9_:]*)\s*=\s*", re.MULTILINE)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_POINTER = re.compile(
    r"""^\(?\s*(?:"(?P<file>[^"]+)"|'(?P<quoted>[^']+)')?\s*,?\s*(?P<at>\d+)?\s*(?P<bytes><\s*BYTES\s*>)?\s*\)?$""",
    re.IGNORECASE,
)
PDS3_KEPT = 200


def read_label(body: bytes, url: str) -> dict[str, Any]:
    """Either kind of label by its first bytes; BadResponse naming `url` if it is neither."""
    start = body[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<"):
        return read_pds4_label(body, url)
    return read_pds3_label(body, url)


def read_pds4_label(body: bytes, url: str) -> dict[str, Any]:
    """Identity, licence, files with size and MD5, and the arrays with offset, axes and data type."""
    root = parse_xml(body, url)
    identification = child(root, "Identification_Area")
    if identification is None:
        raise BadResponse(f"{url}: no Identification_Area: not a PDS4 label (root <{local_name(root)}>)")
    label: dict[str, Any] = {"standard": "PDS4"}
    for name in ("logical_identifier", "version_id", "title", "product_class"):
        label[name] = text_of(child(identification, name))
    licence = next((e for e in root.iter() if local_name(e) == "License_Information"), None)
    if licence is not None:
        label["licence"] = text_of(child(licence, "name")) or text_of(child(licence, "description"))
    targets = [text_of(child(e, "name")) for e in root.iter() if local_name(e) == "Target_Identification"]
    if targets:
        label["targets"] = targets
    label["files"] = [_file_area(e) for e in root if local_name(e).startswith("File_Area")]
    return label


def _file_area(area: Element) -> dict[str, Any]:
    file = child(area, "File")
    found: dict[str, Any] = {}
    if file is not None:
        found["name"] = text_of(child(file, "file_name"))
        size = text_of(child(file, "file_size"))
        if size.isdigit():
            found["bytes"] = int(size)
        if md5 := text_of(child(file, "md5_checksum")):
            found["md5"] = md5.lower()
    arrays = [_array(e) for e in area if local_name(e).startswith("Array")]
    if arrays:
        found["arrays"] = arrays
    return found


def _array(element: Element) -> dict[str, Any]:
    axes = [
        {"name": text_of(child(a, "axis_name")), "elements": int(text_of(child(a, "elements")) or 0)}
        for a in element
        if local_name(a) == "Axis_Array"
    ]
    data_type = next((text_of(e) for e in element.iter() if local_name(e) == "data_type"), "")
    return {
        "kind": local_name(element),
        "offset": int(text_of(child(element, "offset")) or 0),
        "data_type": data_type,
        "axes": axes,
    }


def read_pds3_label(body: bytes, url: str) -> dict[str, Any]:
    """Keywords up to END, nested OBJECTs as mappings, `pointers` as {name: {file, byte}} (0-based byte).

    A file of None means the label's own (attached). Only the start of an attached label is text; the
    data after END is not looked at. Raises BadResponse where no keyword can be read.
    """
    text = _COMMENT.sub(" ", _lines(body[: 1 << 20]).decode("latin-1").replace("\r", ""))
    statements = list(_STATEMENT.finditer(text))
    top: dict[str, Any] = {}
    stack: list[dict[str, Any]] = [top]
    pointers: dict[str, str] = {}
    position = 0
    ended = False
    for match in statements:
        if match.start() < position:
            continue  # inside a quoted value or a list
        if re.search(r"^\s*END\s*$", text[position : match.start()], re.MULTILINE):
            ended = True
            break
        key = match.group(1).upper()
        value, position = _value(text, match.end())
        if key in ("OBJECT", "GROUP", "BEGIN_OBJECT", "BEGIN_GROUP"):
            nested: dict[str, Any] = {}
            stack[-1].setdefault(str(value), nested)
            stack.append(nested)
        elif key in ("END_OBJECT", "END_GROUP"):
            if len(stack) > 1:
                stack.pop()
        elif key.startswith("^"):
            if len(stack) == 1:
                pointers[key[1:]] = str(value)
        else:
            stack[-1][key] = value
    if not top and not pointers:
        raise BadResponse(f"{url}: no KEY = VALUE found: not a PDS3 label")
    record_bytes = top.get("RECORD_BYTES")
    label: dict[str, Any] = {"standard": "PDS3", **dict(list(top.items())[:PDS3_KEPT])}
    label["pointers"] = {k: _pointer(v, record_bytes) for k, v in pointers.items()}
    label["complete"] = ended or bool(re.search(r"^\s*END\s*$", text[position:], re.MULTILINE))
    return label


def _lines(body: bytes) -> bytes:
    """The label's text, without the lengths that VMS puts before records (16 bits, padded to even)."""
    first = int.from_bytes(body[:2], "little")
    if body[2 : 2 + 4] not in (b"CCSD", b"NJPL", b"PDS_") or first > 512:
        return body
    lines: list[bytes] = []
    at = 0
    while at + 2 <= len(body):
        length = int.from_bytes(body[at : at + 2], "little")
        lines.append(body[at + 2 : at + 2 + length])
        at += 2 + length + length % 2
        if lines[-1].strip() == b"END":
            break
    return b"\n".join(lines)


def _value(text: str, at: int) -> tuple[Any, int]:
    """A value from `at`: quoted text, a bracketed list (as text), or the rest of the line."""
    if at < len(text) and text[at] in "\"'":
        end = text.find(text[at], at + 1)
        end = len(text) if end < 0 else end
        return " ".join(text[at + 1 : end].split()), end + 1
    if at < len(text) and text[at] in "({":
        end, depth, quoted = at, 0, False
        while end < len(text):
            character = text[end]
            quoted ^= character == '"'
            if not quoted:
                depth += (character in "({") - (character in ")}")
                if depth == 0:
                    break
            end += 1
        return " ".join(text[at : end + 1].split()), end + 1
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    return _scalar(text[at:end].strip()), end


def _scalar(text: str) -> Any:
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?", text):
        return float(text)
    return text


def _pointer(text: str, record_bytes: Any) -> dict[str, Any]:
    match = _POINTER.match(text)
    if match is None:
        return {"file": text, "byte": 0}
    name = match["file"] or match["quoted"]
    at = int(match["at"]) if match["at"] else 1
    if match["bytes"]:
        return {"file": name, "byte": at - 1}
    if match["at"] is None:
        return {"file": name, "byte": 0}
    return {"file": name, "byte": (at - 1) * int(record_bytes) if isinstance(record_bytes, int) else None}
