"""The golden mapping serves real files by the protocols, each with a licence that can be read."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from assets.sources.catalog import load_catalog
from assets.sources.licences import parse_licence
from deploy.local.items import Library
from deploy.local.stand import Upstream
from tests.golden import mapping

CATALOG = Path(__file__).with_name("catalog.yaml")


def test_every_entry_of_the_catalogue_has_items(golden: Path) -> None:
    entries = load_catalog(CATALOG)
    items = mapping.items(golden)
    lists = {item.set for item in items if item.protocol == "web"}
    asked = {
        str(e.query["index"]).rpartition("/")[2].removesuffix(".jsonl") for e in entries if "index" in e.query
    }
    assert asked == lists
    assert {entry.protocol for entry in entries} == {item.protocol for item in items}
    Library(items, golden, mapping.ORIGIN)  # ids are unique and every file stands


def test_licences_are_translated_so_that_they_can_be_read(golden: Path) -> None:
    statements = {item.licence for item in mapping.items(golden)}
    assert [text for text in statements if text is None or parse_licence(text) is None] == []
    with pytest.raises(KeyError, match="add it to LICENCES"):
        mapping.stated("a licence nobody knows")


def test_the_damaged_ones_stay_in(golden: Path) -> None:
    paths = {item.path for item in mapping.items(golden)}
    assert {"pdf/edge/invalid.pdf", "audio/empty_2c.wav", "genomes/biopython_genbank/blank_seq.gb"} <= paths


def test_real_genomes_pictures_and_articles_over_the_wire(golden: Path, tmp_path: Path) -> None:
    stand = Upstream.start(mapping="tests.golden.mapping", root=golden, log=tmp_path / "golden.log")
    try:

        def get(path: str) -> bytes:
            with urllib.request.urlopen(stand.url + path, timeout=60) as answer:
                return bytes(answer.read())

        fetch = "/entrez/eutils/efetch.fcgi?rettype=fasta&retmode=text&db="
        genome = get(fetch + "nuccore&id=U00096.3")
        assert genome.startswith(b">U00096.3 Escherichia coli")
        assert sum(map(len, genome.split(b"\n")[1:])) == 4_641_652
        phage = get(fetch + "nuccore&id=NC_001416.1")
        assert sum(map(len, phage.split(b"\n")[1:])) == 48_502
        articles = get("/entrez/eutils/efetch.fcgi?db=pmc&id=3166277,1790863")
        assert articles.count(b"<article ") == 2
        query = urllib.parse.urlencode({"q": 'pds:Target_Identification.pds:name eq "Jupiter"'})
        products = json.loads(get(f"/api/search/1/products?{query}"))["data"]
        labels = [p["properties"]["ops:Label_File_Info.ops:file_ref"][0] for p in products]
        label = next(url for url in labels if url.endswith("JNCE_2016192_00B01589_V01.LBL"))
        assert get(urllib.parse.urlsplit(label).path).startswith(b"PDS_VERSION_ID                = PDS3")
        found = json.loads(get("/api/3/recordings?query=grp:soundscape&key=k"))
        assert int(found["numRecordings"]) == 12
        rows = get("/lists/textbook.jsonl").splitlines()
        assert len(rows) == 258
    finally:
        stand.stop()
