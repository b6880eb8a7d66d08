"""OAI-PMH of the local upstream, harvested by Sickle, a client that others wrote."""

from __future__ import annotations

import pytest
from sickle import Sickle
from sickle.iterator import OAIItemIterator
from sickle.oaiexceptions import BadArgument, CannotDisseminateFormat, IdDoesNotExist, NoRecordsMatch

from deploy.local import oai
from deploy.local.items import Item, Library, load_items
from deploy.local.stand import SAMPLE, Upstream
from tests.deploy.conftest import Get


@pytest.fixture
def sickle(upstream: Upstream) -> Sickle:
    return Sickle(upstream.url + "/oai")


def test_sickle_harvests_every_record_once_over_several_pages(sickle: Sickle) -> None:
    expected = {item.id for item in load_items(SAMPLE) if item.protocol == "oai_pmh"}
    records = list(sickle.ListRecords(metadataPrefix="oai_dc"))
    identifiers = [record.header.identifier for record in records]
    assert len(identifiers) > 20  # more than two pages of ten
    assert sorted(identifiers) == sorted(expected)
    deleted = [record.header.identifier for record in records if record.header.deleted]
    assert deleted == ["oai:sample.luca.test:essays/withdrawn-essay"]


def test_sickle_reads_dublin_core(sickle: Sickle) -> None:
    record = sickle.GetRecord(identifier="oai:sample.luca.test:essays/animal-minds", metadataPrefix="oai_dc")
    assert record.metadata["rights"] == ["CC-BY-SA-4.0"]
    assert record.metadata["language"] == ["en"]
    assert record.metadata["identifier"][0] == "http://sample.luca.test/files/essays/animal-minds.html"
    bare = sickle.GetRecord(
        identifier="oai:sample.luca.test:essays/no-licence-essay", metadataPrefix="oai_dc"
    )
    assert "rights" not in bare.metadata


def test_sets_formats_identify(sickle: Sickle) -> None:
    assert [s.setSpec for s in sickle.ListSets()] == ["essays", "essays:abstracts"]
    assert [f.metadataPrefix for f in sickle.ListMetadataFormats()] == ["oai_dc"]
    identify = sickle.Identify()
    assert (identify.deletedRecord, identify.granularity) == ("persistent", "YYYY-MM-DDThh:mm:ssZ")
    abstracts = list(sickle.ListIdentifiers(metadataPrefix="oai_dc", set="essays:abstracts"))
    assert len(abstracts) == 3
    assert len(list(sickle.ListIdentifiers(metadataPrefix="oai_dc", set="essays"))) > len(abstracts)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"verb": "GetRecord", "identifier": "oai:x", "metadataPrefix": "oai_dc"}, IdDoesNotExist),
        ({"verb": "ListRecords", "metadataPrefix": "marc"}, CannotDisseminateFormat),
        ({"verb": "ListRecords", "metadataPrefix": "oai_dc", "from": "2090-01-01"}, NoRecordsMatch),
        ({"verb": "ListRecords"}, BadArgument),
        ({"verb": "ListRecords", "metadataPrefix": "oai_dc", "from": "2024-13-01"}, BadArgument),
        (
            {"verb": "ListRecords", "metadataPrefix": "oai_dc", "from": "2024-02-01", "until": "2024-01-01"},
            BadArgument,
        ),
    ],
)
def test_errors_are_those_of_the_specification(
    sickle: Sickle, arguments: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        next(OAIItemIterator(sickle, dict(arguments)))


@pytest.mark.parametrize("query", ["", "verb=Everything", "verb=Identify&verb=ListSets"])
def test_bad_verbs_are_named(get: Get, query: str) -> None:
    answer = get(f"/oai?{query}")
    assert answer.status == 200 and b'<error code="badVerb">' in answer.body


def test_incremental_window_is_inclusive(sickle: Sickle, get: Get) -> None:
    everything = list(sickle.ListIdentifiers(metadataPrefix="oai_dc"))
    last = max(header.datestamp for header in everything)
    newest = list(sickle.ListIdentifiers(metadataPrefix="oai_dc", **{"from": last}))
    assert [header.datestamp for header in newest] == [last]
    day = list(sickle.ListIdentifiers(metadataPrefix="oai_dc", **{"from": last[:10], "until": last[:10]}))
    assert [header.identifier for header in day] == [header.identifier for header in newest]


def test_errors_may_come_under_422_and_tokens_may_expire(get: Get) -> None:
    get("/_upstream/faults", b"/oai=unprocessable*1")
    refused = get("/oai?verb=GetRecord&identifier=oai:x&metadataPrefix=oai_dc")
    assert refused.status == 422 and b'code="idDoesNotExist"' in refused.body
    first = get("/oai?verb=ListRecords&metadataPrefix=oai_dc").body.decode()
    token = first.partition("<resumptionToken")[2].partition(">")[2].partition("<")[0]
    get("/_upstream/faults", b"/oai=expired*1")
    expired = get(f"/oai?verb=ListRecords&resumptionToken={token}")
    assert b'code="badResumptionToken"' in expired.body
    assert b"<record>" in get(f"/oai?verb=ListRecords&resumptionToken={token}").body


def _library(count: int) -> Library:
    items = [
        Item(
            id=f"oai:x:{n}",
            protocol="oai_pmh",
            set="s",
            title=str(n),
            datestamp=f"2024-01-{n + 1:02}T00:00:00Z",
        )
        for n in range(count)
    ]
    return Library(items, SAMPLE, "http://x.test")


def test_a_deletion_between_two_pages_loses_and_repeats_nothing() -> None:
    library = _library(6)
    settings = oai.OaiSettings(page=3, clock=lambda: 0.0)

    def ask(**parameters: str) -> str:
        return oai.answer(
            library, {key: [value] for key, value in parameters.items()}, settings
        ).body.decode()

    first = ask(verb="ListIdentifiers", metadataPrefix="oai_dc")
    token = first.partition("<resumptionToken")[2].partition(">")[2].partition("<")[0]
    library.delete("oai:x:0", "2024-02-01T00:00:00Z")
    second = ask(verb="ListIdentifiers", resumptionToken=token)
    assert [n for n in range(6) if f"<identifier>oai:x:{n}<" in first] == [0, 1, 2]
    assert [n for n in range(6) if f"<identifier>oai:x:{n}<" in second] == [3, 4, 5]
    assert "<resumptionToken" in second  # the deleted one follows, as deleted
    token = second.partition("<resumptionToken")[2].partition(">")[2].partition("<")[0]
    assert 'status="deleted"' in ask(verb="ListIdentifiers", resumptionToken=token)


def test_a_token_dies_with_its_time() -> None:
    now = [0.0]
    settings = oai.OaiSettings(page=1, token_seconds=120, clock=lambda: now[0])
    library = _library(2)
    first = oai.answer(
        library, {"verb": ["ListIdentifiers"], "metadataPrefix": ["oai_dc"]}, settings
    ).body.decode()
    token = first.partition("<resumptionToken")[2].partition(">")[2].partition("<")[0]
    now[0] = 121.0
    late = oai.answer(
        library, {"verb": ["ListIdentifiers"], "resumptionToken": [token]}, settings
    ).body.decode()
    assert "badResumptionToken" in late
