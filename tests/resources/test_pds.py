"""PDS: labels of real products, version order, and the search of the local upstream."""

from __future__ import annotations

import ast
import asyncio
import hashlib
from pathlib import Path

import pytest

from resources.http_errors import BadResponse
from resources.items import Known
from resources.pds import PdsClient, data_files, harvest, parse_products, payload_of, version_order
from resources.pds_labels import read_label
from tests.resources.upstream import running

BASE = "http://sample.luca.test/api/search/1"


def test_versions_are_numbers() -> None:
    assert sorted(["13.0", "2.0", "1.10", "1.9"], key=version_order) == ["1.9", "1.10", "2.0", "13.0"]


def test_products_null_values_and_short_arrays() -> None:
    name = "ops:Data_File_Info.ops:"
    properties = {
        name + "file_ref": ["http://h/a.txt", "http://h/b.png"],
        name + "file_name": ["a.txt", "b.png"],
        name + "file_size": ["10"],
        name + "md5_checksum": ["null", "null"],
    }
    (product,) = parse_products({"data": [{"id": "urn:x::1.0", "properties": properties}]}, "u")
    files = data_files(product)
    assert [(f.name, f.bytes, f.md5) for f in files] == [("a.txt", None, ""), ("b.png", None, "")]
    chosen = payload_of(product)
    assert chosen is not None and chosen.name == "b.png"
    with pytest.raises(BadResponse, match="no 'data'"):
        parse_products({"message": "x"}, "u")


def test_pds4_labels_and_a_checksum_that_does_not_hold(golden: Path) -> None:
    folder = golden / "pds" / "pds4_tools"
    label = read_label((folder / "colors.xml").read_bytes(), "u")
    assert label["logical_identifier"] == "urn:nasa:pds:litcomp-comets:nuc_properties:colors"
    assert label["files"][0]["name"] == "colors.tab"
    stated = read_label((folder / "Product_DelimitedTable.xml").read_bytes(), "u")["files"][0]
    actual = hashlib.md5((folder / "delim_data.csv").read_bytes()).hexdigest()
    assert stated["md5"] != actual


def test_pds3_labels_against_their_answers(golden: Path) -> None:
    folder = golden / "pds" / "pds3_labels"
    compared = 0
    for path in sorted(folder.iterdir()):
        answer = folder / f"{path.stem}-answer.txt"
        if path.suffix.upper() not in (".LBL", ".IMQ") or not answer.exists():
            continue
        label = read_label(path.read_bytes(), path.name)
        text = answer.read_text()
        for key in ("RECORD_BYTES", "FILE_RECORDS", "TARGET_NAME", "RECORD_TYPE"):
            line = next((x for x in text.splitlines() if x.lstrip(" {").startswith(f"'{key}': ")), None)
            if line is not None:
                assert label[key] == ast.literal_eval(line.partition(": ")[2].rstrip(",}")), (path, key)
                compared += 1
    assert compared >= 10


def test_pds3_pointers() -> None:
    body = (
        b"PDS_VERSION_ID = PDS3\r\nRECORD_BYTES = 100\r\n/* ^IMAGE = 9 */\r\n"
        b'^IMAGE = ("X.IMG", 4)\r\n^TABLE = 47\r\n^TEXT = "T.TXT"\r\n^RAW = 513 <BYTES>\r\n'
        b'NOTE = "A = B\r\n END"\r\nOBJECT = IMAGE\r\n LINES = 5\r\nEND_OBJECT = IMAGE\r\n'
        b"END\r\n\x00\xffX = 1\r\n"
    )
    label = read_label(body, "u")
    assert label["pointers"] == {
        "IMAGE": {"file": "X.IMG", "byte": 300},
        "TABLE": {"file": None, "byte": 4600},
        "TEXT": {"file": "T.TXT", "byte": 0},
        "RAW": {"file": None, "byte": 512},
    }
    assert label["IMAGE"] == {"LINES": 5}
    assert "X" not in label and label["NOTE"] == "A = B END" and label["complete"]
    with pytest.raises(BadResponse, match="not a PDS3 label"):
        read_label(b"\x00\x01", "u")


def test_paging_is_whole_and_incremental(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resources.pds.PAGE", 2)

    async def body() -> None:
        with running(tmp_path) as upstream:
            async with upstream.http() as http:
                found = [p async for p in PdsClient(http, BASE).products()]
                assert len({p.lidvid for p in found}) == len(found) > 4
                items = [i async for i in harvest(http, BASE, Known())]
                assert {i.metadata["lidvid"] for i in items} <= {p.lidvid for p in found}
                assert all(i.md5 and i.size and i.attachments["label"] for i in items)
                last = max((i.datestamp, i.metadata["lidvid"]) for i in items)
                known = Known(high_water=last[0], cursor=last[1])
                assert [i async for i in harvest(http, BASE, known)] == []

    asyncio.run(body())
