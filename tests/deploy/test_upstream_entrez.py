"""Entrez of the local upstream, read by Biopython, a client that others wrote."""

from __future__ import annotations

import io
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from Bio import Entrez, SeqIO
from lxml import etree

from deploy.local.entrez_query import matching
from deploy.local.items import load_items
from deploy.local.stand import SAMPLE, Upstream
from tests.deploy.conftest import Get

NCBI = "https://eutils.ncbi.nlm.nih.gov"


@pytest.fixture
def bio(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Bio.Entrez, with NCBI's origin led to the upstream."""

    def local(request: urllib.request.Request) -> Any:
        address = request.full_url.replace(NCBI, upstream.url)
        return urllib.request.urlopen(urllib.request.Request(address, data=request.data), timeout=20)

    monkeypatch.setattr(Entrez, "urlopen", local)
    monkeypatch.setattr(Entrez, "email", "test@example.org")
    yield Entrez


def test_search_history_and_fetch_fasta(bio: Any) -> None:
    expected = [item for item in load_items(SAMPLE) if item.set == "nuccore"]
    found = bio.read(
        bio.esearch(db="nuccore", term="synthetic construct[Organism]", usehistory="y", retmax=5)
    )
    assert int(found["Count"]) == len(expected)
    assert len(found["IdList"]) == 5
    handle = bio.efetch(
        db="nuccore",
        rettype="fasta",
        retmode="text",
        WebEnv=found["WebEnv"],
        query_key=found["QueryKey"],
        retmax=100,
    )
    text = handle.read()
    records = list(SeqIO.parse(io.StringIO(text), "fasta"))
    assert {record.id.partition(".")[0] for record in records} == {
        item.id.partition(".")[0] for item in expected
    }
    assert max(len(record.seq) for record in records) == 5386


def test_pages_of_a_search_are_disjoint_and_whole(bio: Any) -> None:
    pages = [
        bio.read(bio.esearch(db="protein", term="all[filter]", retstart=start, retmax=5))["IdList"]
        for start in range(0, 20, 5)
    ]
    together = [name for page in pages for name in page]
    assert len(together) == len(set(together)) == 17


def test_post_then_summaries(bio: Any) -> None:
    posted = bio.read(bio.epost(db="protein", id="980001,980002"))
    handle = bio.esummary(db="protein", WebEnv=posted["WebEnv"], query_key=posted["QueryKey"])
    summaries = bio.read(handle)
    assert [s["Title"] for s in summaries] == ["Ubiquitin, 76 residues", "Insulin A chain, human"]
    assert [int(s["Length"]) for s in summaries] == [76, 21]


def test_genbank_made_from_fasta_is_read_by_biopython(bio: Any) -> None:
    for database, name in (("nuccore", "LN_990002.1"), ("protein", "LP_980001.1")):
        plain = SeqIO.read(bio.efetch(db=database, id=name, rettype="fasta", retmode="text"), "fasta")
        flat = SeqIO.read(bio.efetch(db=database, id=name, rettype="gb", retmode="text"), "genbank")
        assert flat.seq == plain.seq and flat.id == name


def test_articles_come_as_jats(bio: Any) -> None:
    content = bio.efetch(db="pmc", id="9900001,9900002", retmode="xml").read()
    assert len(bio.read(io.BytesIO(content))) == 2
    # Biopython drops the text of titles: lxml reads what it leaves out.
    titles = [title.text for title in etree.fromstring(content).iter("article-title")]
    assert [title.split()[0] for title in titles] == ["Counting", "Genetic"]


def test_errors_stand_in_the_body(bio: Any, get: Get) -> None:
    with pytest.raises(RuntimeError, match="Empty term"):
        bio.read(bio.esearch(db="nuccore", term=""))
    with pytest.raises(RuntimeError, match="Invalid db name"):
        bio.read(bio.esearch(db="nothing", term="x"))
    empty = bio.read(bio.esearch(db="nuccore", term="unheardof"))
    assert empty["Count"] == "0" and empty["ErrorList"]["PhraseNotFound"] == ["unheardof"]
    get("/_upstream/faults", b"/entrez/*=ratelimit*1")
    limited = get("/entrez/eutils/esearch.fcgi?db=nuccore&term=x")
    assert limited.status == 200 and limited.json["error"] == "API rate limit exceeded"


def test_changes_are_found_by_modification_date(bio: Any, get: Get) -> None:
    window = {"mindate": "2031/01/01", "maxdate": "2031/12/31", "datetype": "mdat"}
    assert bio.read(bio.esearch(db="nuccore", term="all[filter]", **window))["Count"] == "0"
    changed = b">LN_990003.2 changed\nACGTACGT\n"
    get("/_upstream/change?id=LN_990003.1&date=2031-05-05T00:00:00Z", changed)
    found = bio.read(bio.esearch(db="nuccore", term="all[filter]", idtype="acc", **window))
    assert found["IdList"] == ["LN_990003.2"]
    assert (
        bio.efetch(db="nuccore", id="LN_990003.2", rettype="fasta").read().strip() == changed.decode().strip()
    )


@pytest.mark.parametrize(
    ("term", "count"),
    [
        ("all[filter]", 5),
        ("open access[filter]", 5),
        ("drift AND open access[filter]", 1),
        ("codon*", 1),
        ("drift OR flagellum", 2),
        ("(drift OR flagellum) NOT small", 1),
        ("drift AND flagellum", 0),
        ('"genetic code"[Title]', 1),
        ("9900001:9900003[UID]", 3),
        ("PMC9900005[accn]", 1),
    ],
)
def test_terms(term: str, count: int) -> None:
    articles = [item for item in load_items(SAMPLE) if item.set == "pmc"]
    found, _ = matching(articles, term)
    assert len(found) == count


def test_unbalanced_parentheses_are_refused() -> None:
    with pytest.raises(ValueError, match="parentheses"):
        matching([], "(a OR b")
