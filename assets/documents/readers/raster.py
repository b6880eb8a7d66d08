"""Planetary images: raw rasters described by a PDS3 or PDS4 label, attached or beside the file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.documents.parts import Part, RawItem, Rejection, Unreadable
from assets.documents.readers.image import MAX_PIXELS, png_part, stretch

_PAIR = re.compile(r"^\s*([\^A-Z0-9_:]+)\s*=\s*(.+?)\s*$")
_POINTER = re.compile(r"\(?\s*(?:\"([^\"]*)\"|'([^']*)')?\s*,?\s*(\d+)?\s*(<BYTES>)?\s*\)?", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?\*/")
_PDS3_TYPES = {
    "UNSIGNED_INTEGER": ">u",
    "MSB_UNSIGNED_INTEGER": ">u",
    "SUN_UNSIGNED_INTEGER": ">u",
    "INTEGER": ">i",
    "MSB_INTEGER": ">i",
    "SUN_INTEGER": ">i",
    "LSB_UNSIGNED_INTEGER": "<u",
    "PC_UNSIGNED_INTEGER": "<u",
    "VAX_UNSIGNED_INTEGER": "<u",
    "LSB_INTEGER": "<i",
    "PC_INTEGER": "<i",
    "VAX_INTEGER": "<i",
    "IEEE_REAL": ">f",
    "REAL": ">f",
    "SUN_REAL": ">f",
    "PC_REAL": "<f",
}
_PDS4_TYPES = {
    "UnsignedByte": "u1",
    "SignedByte": "i1",
    "UnsignedMSB2": ">u2",
    "SignedMSB2": ">i2",
    "UnsignedLSB2": "<u2",
    "SignedLSB2": "<i2",
    "UnsignedMSB4": ">u4",
    "SignedMSB4": ">i4",
    "UnsignedLSB4": "<u4",
    "SignedLSB4": "<i4",
    "IEEE754MSBSingle": ">f4",
    "IEEE754LSBSingle": "<f4",
    "IEEE754MSBDouble": ">f8",
    "IEEE754LSBDouble": "<f8",
}


@dataclass(frozen=True)
class Raster:
    """Where the samples stand in the file: `dtype` as NumPy writes it, `offset`, `prefix` and `suffix` of
    a line in bytes; `storage` is PDS3's BAND_STORAGE_TYPE."""

    lines: int
    samples: int
    dtype: str
    offset: int
    bands: int = 1
    prefix: int = 0
    suffix: int = 0
    storage: str = "BAND_SEQUENTIAL"


def read_raster(item: RawItem) -> Iterator[Part | Rejection]:
    """One part: three bands as RGB, else the first band in grey; 16 bits and floats stretched to 8.

    Unreadable ``no_label`` without a label, ``unsupported`` for compressed or unknown sample types,
    ``truncated`` where the file is shorter than the label says.
    """
    label = find_label(item)
    raster = parse_pds4(label) if label.lstrip().startswith("<") else parse_pds3(label)
    pixels = read_pixels(item.path, raster)
    from PIL import Image

    rgb = Image.fromarray(pixels).convert("RGB")
    yield png_part(rgb, {"reader": "raster", "original": f"{raster.dtype} {raster.bands} bands"})


def find_label(item: RawItem) -> str:
    """The label's text: attached to the file, or the one that the source read beside it."""
    with item.path.open("rb") as file:
        head = file.read(1 << 20)
    if is_attached_label(head):
        return head.decode("latin-1")
    sha256 = item.metadata.get("label_sha256")
    if isinstance(sha256, str):
        return item.fetch(sha256).read_bytes().decode("latin-1")
    raise Unreadable("no_label", "a raw raster, and no PDS3 or PDS4 label attached or beside it")


def is_attached_label(head: bytes) -> bool:
    """True where the file itself starts with a PDS3 label."""
    return (
        head.lstrip().startswith((b"PDS_VERSION_ID", b"CCSD3ZF", b"NJPL1I00PDS"))
        or b"SFDU_LABEL" in head[:200]
    )


def parse_pds3(label: str) -> Raster:
    """The raster of a PDS3 label's first IMAGE object."""
    top, image = _pds3_values(label)
    if not image:
        raise Unreadable("unsupported", "the label describes no IMAGE object")
    encoding = image.get("ENCODING_TYPE", "N/A").strip("\"'")
    if encoding not in {"N/A", "NONE"}:
        raise Unreadable("unsupported", f"samples compressed by {encoding}")
    record_bytes = _integer(top, "RECORD_BYTES", 1)
    bits = _integer(image, "SAMPLE_BITS")
    kind = image.get("SAMPLE_TYPE", "UNSIGNED_INTEGER").strip("\"'").upper()
    if kind not in _PDS3_TYPES or bits not in {8, 16, 32, 64}:
        raise Unreadable("unsupported", f"samples of type {kind} in {bits} bits")
    return Raster(
        lines=_integer(image, "LINES"),
        samples=_integer(image, "LINE_SAMPLES"),
        dtype=f"{_PDS3_TYPES[kind]}{bits // 8}",
        offset=_pds3_offset(top.get("^IMAGE", ""), record_bytes),
        bands=_integer(image, "BANDS", 1),
        prefix=_integer(image, "LINE_PREFIX_BYTES", 0),
        suffix=_integer(image, "LINE_SUFFIX_BYTES", 0),
        storage=image.get("BAND_STORAGE_TYPE", "BAND_SEQUENTIAL").strip("\"'").upper(),
    )


def _pds3_values(label: str) -> tuple[dict[str, str], dict[str, str]]:
    """(values outside objects, values of the first IMAGE object)."""
    top: dict[str, str] = {}
    image: dict[str, str] = {}
    stack: list[str] = []
    seen_image = False
    for line in label.replace("\r", "\n").split("\n"):
        line = _COMMENT.sub("", line)
        if line.strip() == "END":
            break
        if line.strip().startswith("END_OBJECT"):
            closed = stack.pop() if stack else ""
            seen_image = seen_image or closed == "IMAGE"
            continue
        found = _PAIR.match(line)
        if not found:
            continue
        key, value = found.groups()
        if key == "OBJECT":
            stack.append(value.strip("\"'"))
        elif not stack or (stack == ["UNCOMPRESSED_FILE"] or stack == ["FILE"]):
            top.setdefault(key, value)
        elif stack[-1] == "IMAGE" and not seen_image:
            image.setdefault(key, value)
    return top, image


def _pds3_offset(pointer: str, record_bytes: int) -> int:
    """``47`` and ``("X.IMG", 47)`` count records from 1; ``47 <BYTES>`` bytes from 1; a name alone is 0."""
    found = _POINTER.match(pointer.strip())
    number = int(found.group(3)) if found and found.group(3) else 1
    unit = 1 if found and found.group(4) else record_bytes
    return (number - 1) * unit


def _integer(values: Mapping[str, str], name: str, default: int | None = None) -> int:
    found = re.match(r"[+-]?\d+", values.get(name, ""))
    if found:
        return int(found.group())
    if default is None:
        raise Unreadable("damaged", f"the label's IMAGE has no {name}")
    return default


def parse_pds4(label: str) -> Raster:
    """The raster of a PDS4 label's first Array_2D_Image or Array_3D_Image."""
    from lxml import etree

    from assets.documents.readers.xml import all_named, first, inline

    try:
        root = etree.fromstring(label.encode(), etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise Unreadable("damaged", f"the PDS4 label is no XML: {error}") from error
    array = first(root, "Array_2D_Image", "Array_3D_Image")
    if array is None:
        raise Unreadable("unsupported", "the label describes no Array_2D_Image")
    axes = {
        inline(first(a, "axis_name")).lower(): int(inline(first(a, "elements")))
        for a in all_named(array, "Axis_Array")
    }
    data_type = inline(first(array, "data_type"))
    if data_type not in _PDS4_TYPES or not {"line", "sample"} <= axes.keys():
        raise Unreadable("unsupported", f"samples of type {data_type} on axes {sorted(axes)}")
    offset = inline(first(array, "offset")) if first(array, "offset") is not None else "0"
    return Raster(
        lines=axes["line"],
        samples=axes["sample"],
        dtype=_PDS4_TYPES[data_type],
        offset=int(offset),
        bands=axes.get("band", 1),
    )


def read_pixels(path: Path, raster: Raster) -> Any:
    """uint8[h, w] or uint8[h, w, 3] of the raster's samples."""
    import numpy as np

    if min(raster.lines, raster.samples, raster.bands) < 1 or raster.offset < 0:
        raise Unreadable("damaged", f"the label's sizes make no picture: {raster}")
    if raster.lines * raster.samples > MAX_PIXELS:
        raise Unreadable("too_large", f"{raster.lines} x {raster.samples} pixels, the limit is {MAX_PIXELS}")
    item = np.dtype(raster.dtype).itemsize
    if raster.storage == "SAMPLE_INTERLEAVED":
        rows, width = raster.lines, raster.samples * raster.bands
    else:
        rows, width = raster.lines * raster.bands, raster.samples
    stride = raster.prefix + width * item + raster.suffix
    size = rows * stride
    with path.open("rb") as file:
        file.seek(raster.offset)
        data = file.read(size)
    if len(data) < size:
        raise Unreadable(
            "truncated", f"the label promises {size} bytes from {raster.offset}, {len(data)} are there"
        )
    lines = np.frombuffer(data, dtype=np.uint8).reshape(rows, stride)[
        :, raster.prefix : raster.prefix + width * item
    ]
    values = np.ascontiguousarray(lines).view(raster.dtype)
    if raster.storage == "SAMPLE_INTERLEAVED":
        cube = values.reshape(raster.lines, raster.samples, raster.bands)
    elif raster.storage == "LINE_INTERLEAVED":
        cube = values.reshape(raster.lines, raster.bands, raster.samples).transpose(0, 2, 1)
    else:
        cube = values.reshape(raster.bands, raster.lines, raster.samples).transpose(1, 2, 0)
    chosen = cube[:, :, :3] if raster.bands == 3 else cube[:, :, 0]
    return np.ascontiguousarray(chosen) if values.dtype == np.uint8 else stretch(chosen.astype(np.float64))
