"""PDS search, Xeno-canto and plain files of the local upstream; faults; counts; changes."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.parse
from pathlib import Path

import pytest

from deploy.local.faults import Faults, parse_faults
from deploy.local.items import load_items
from deploy.local.pds import QueryError, parse_query
from deploy.local.stand import SAMPLE, Upstream
from tests.deploy.conftest import Get

TITLE = "pds:Identification_Area.pds:title"
HARVESTED = "ops:Harvest_Info.ops:harvest_date_time"


def search(get: Get, **parameters: str) -> dict[str, object]:
    reply = get("/api/search/1/products?" + urllib.parse.urlencode(parameters))
    assert reply.status == 200, reply.body
    found = reply.json
    assert isinstance(found, dict)
    return found


def test_pds_pages_by_search_after_meet_every_product_once(get: Get) -> None:
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        found = search(get, q=f'{TITLE} like "*terrain*"', sort=f"{HARVESTED},lidvid", limit="3", **after)
        data, summary = found["data"], found["summary"]
        assert isinstance(data, list) and isinstance(summary, dict)
        if not data:
            break
        seen += [product["id"] for product in data]
        after = {"search-after": ",".join(summary["search_after"])}
    assert len(seen) == len(set(seen)) == 7


def test_pds_files_match_their_stated_md5_but_for_the_one_that_lies(get: Get) -> None:
    wrong = []
    data = search(get, q=f'{TITLE} like "*terrain*"')["data"]
    assert isinstance(data, list)
    for product in data:
        facts = {key: value[0] for key, value in product["properties"].items()}
        path = urllib.parse.urlsplit(facts["ops:Data_File_Info.ops:file_ref"]).path
        body = get(path).body
        assert str(len(body)) == facts["ops:Data_File_Info.ops:file_size"]
        if hashlib.md5(body).hexdigest() != facts["ops:Data_File_Info.ops:md5_checksum"]:
            wrong.append(product["id"])
        label = get(urllib.parse.urlsplit(facts["ops:Label_File_Info.ops:file_ref"]).path)
        assert facts["lid"].encode() in label.body
    assert wrong == ["urn:nasa:pds:luca_terrain:terrain_07::1.0"]


def test_pds_answers_as_the_service_does(get: Get) -> None:
    assert search(get, q='lid eq "urn:none"')["data"] == []
    unknown = get("/api/search/1/products/urn:none::1.0")
    assert unknown.status == 404 and set(unknown.json) == {"request", "message"}
    one = get("/api/search/1/products/urn:nasa:pds:luca_terrain:terrain_01::1.0")
    assert one.json["id"].endswith("terrain_01::1.0")
    summary = search(get, q='lid like "*"', limit="0")["summary"]
    assert isinstance(summary, dict) and summary["hits"] == 7
    assert get("/api/search/1/products?q=lid+eq").status == 400
    mixed = '(lid eq "a" and lid eq "b" or lid eq "c")'
    assert get("/api/search/1/products?" + urllib.parse.urlencode({"q": mixed})).status == 400


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('a eq "1"', True),
        ('a ne "1"', False),
        ('(a eq "1" and b like "x*")', True),
        ('(a eq "2" or b eq "xy")', True),
        ('not (a eq "1")', False),
        ('((a eq "2" or b eq "xy") and a ge "1")', True),
        ('c eq "1"', False),
    ],
)
def test_pds_query_grammar(query: str, expected: bool) -> None:
    assert parse_query(query)({"a": ["1"], "b": ["xy"]}) is expected


@pytest.mark.parametrize("query", ["", "a", "a eq", 'a is "1"', '(a eq "1"', 'a eq "1" and b eq "2"'])
def test_pds_refuses_what_the_grammar_refuses(query: str) -> None:
    with pytest.raises(QueryError):
        parse_query(query)


def test_xeno_canto_pages_and_dirty_values(get: Get) -> None:
    reply = get("/api/3/recordings?query=nr:900001-900099&key=k&per_page=50").json
    assert (reply["numRecordings"], reply["numPages"], reply["page"]) == ("12", 1, 1)
    by_id = {str(recording["id"]): recording for recording in reply["recordings"]}
    assert by_id["900011"]["file"] is None and by_id["900011"]["_meta"]["redacted_fields"]
    assert by_id["900009"]["file"] == "//sample.luca.test/900009/download"
    assert by_id["900010"]["lic"].endswith("by-nc-nd/4.0/")
    sound = get("/900002/download")
    assert sound.status == 200 and sound.body[:4] == b"fLaC" and sound.headers["Content-Type"] == "audio/flac"
    assert get("/900011/download").status == 404
    birds = get('/api/3/recordings?query=grp:birds+cnt:"Nowhere"&key=k').json
    assert birds["numRecordings"] == "7"


def test_xeno_canto_errors_have_two_shapes(get: Get) -> None:
    keyless = get("/api/3/recordings?query=grp:birds")
    assert keyless.status == 401 and isinstance(keyless.json["error"], str)
    for query in ("", "thrush", "grp:birds+thrush", "grp:birds&per_page=10"):
        bad = get(f"/api/3/recordings?query={query}&key=k")
        assert bad.status == 400 and bad.json["error"]["message"], query


def test_files_have_validators_and_ranges(get: Get) -> None:
    path = "/files/sounds/XC900001.wav"
    whole = get(path)
    size, etag = len(whole.body), whole.headers["ETag"]
    assert whole.headers["Content-Type"] == "audio/wav" and not etag.startswith("W/")
    assert get(path, If_None_Match=etag).status == 304
    assert get(path, If_Modified_Since=whole.headers["Last-Modified"]).status == 304
    assert get(path, If_None_Match='"other"', If_Modified_Since=whole.headers["Last-Modified"]).status == 200
    rest = get(path, Range="bytes=1000-", If_Range=etag)
    assert rest.status == 206 and rest.body == whole.body[1000:]
    assert rest.headers["Content-Range"] == f"bytes 1000-{size - 1}/{size}"
    assert get(path, Range="bytes=-10").body == whole.body[-10:]
    assert get(path, Range="bytes=5-7").body == whole.body[5:8]
    changed = get(path, Range="bytes=1000-", If_Range='"other"')
    assert changed.status == 200 and changed.body == whole.body
    beyond = get(path, Range=f"bytes={size}-")
    assert beyond.status == 416 and beyond.headers["Content-Range"] == f"bytes */{size}"


def test_nothing_outside_the_items_is_served(get: Get) -> None:
    for path in ("/files/items.jsonl", "/files/../README.md", "/files/%2e%2e/upstream.py", "/files/none.txt"):
        assert get(path).status == 404, path
    assert "Disallow: /files/private/" in get("/robots.txt").body.decode()


def test_lists_state_true_checksums_but_one(get: Get) -> None:
    wrong = []
    for name in ("notes", "pictures", "dialogues"):
        for line in get(f"/lists/{name}.jsonl").body.splitlines():
            row = json.loads(line)
            body = get(urllib.parse.urlsplit(row["url"]).path).body
            if hashlib.sha256(body).hexdigest() != row["sha256"]:
                wrong.append(row["id"])
    assert wrong == ["wrong-checksum"]


def test_changes_deletions_and_counts(tmp_path: Path) -> None:
    stand = Upstream.start(log=tmp_path / "upstream.log")
    try:
        connection = http.client.HTTPConnection(stand.url.removeprefix("http://"), timeout=10)

        def ask(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()

        _, before = ask("GET", "/lists/notes.jsonl")
        assert ask("POST", "/_upstream/change?id=drake&date=2030-01-01T00:00:00Z", b"New.")[0] == 200
        assert ask("GET", "/files/notes/drake.txt") == (200, b"New.")
        assert ask("POST", "/_upstream/delete?id=panspermia")[0] == 200
        assert ask("GET", "/files/notes/panspermia.txt")[0] == 410
        _, after = ask("GET", "/lists/notes.jsonl")
        assert len(after.splitlines()) == len(before.splitlines()) - 1
        assert ask("POST", "/_upstream/delete?id=nobody")[0] == 404
        stats = json.loads(ask("GET", "/_upstream/stats")[1])
        assert stats["requests"]["/lists/notes.jsonl"] == 2 and stats["total"] == 4
    finally:
        stand.stop()
    assert not stand.pid_file.exists()


def raw(upstream: Upstream, path: str) -> tuple[int, int, bytes | str]:
    """Status, stated length, and the body, or the name of the error that cut it."""
    connection = http.client.HTTPConnection(upstream.url.removeprefix("http://"), timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    length = int(answer.headers.get("Content-Length", "-1"))
    try:
        return answer.status, length, answer.read()
    except (http.client.IncompleteRead, ConnectionError) as error:
        return answer.status, length, type(error).__name__
    finally:
        connection.close()


def test_faults_over_the_wire(upstream: Upstream, get: Get) -> None:
    path = "/files/sounds/XC900001.wav"
    size = len(get(path).body)
    rules = (
        f"{path}=503:7*1;{path}=429*1;{path}=truncate:1000*1;{path}=reset*1;{path}=short:500*1;{path}=html*1"
    )
    # The first rule that still counts applies; each is made for one request here.
    get("/_upstream/faults", rules.encode())
    busy = get(path)
    assert busy.status == 503 and busy.headers["Retry-After"] == "7"
    limited = get(path)
    assert limited.status == 429 and "Retry-After" not in limited.headers
    assert raw(upstream, path) == (200, size, "IncompleteRead")
    assert raw(upstream, path)[2] in ("ConnectionResetError", "IncompleteRead")
    status, length, body = raw(upstream, path)
    assert (status, length) == (200, 500) and len(body) == 500
    assert b"Just a moment" in get(path).body
    assert len(get(path).body) == size


def test_fault_rules_count_and_skip() -> None:
    faults = Faults(parse_faults("/a*=500*2@1; /b=429:3"))
    kinds = [fault.kind if (fault := faults.next("/ab")) else None for _ in range(4)]
    assert kinds == [None, "500", "500", None]
    slow = faults.next("/b")
    assert slow is not None and slow.argument == "3"
    assert faults.next("/c") is None


@pytest.mark.parametrize("rule", ["oai=503", "/oai=200", "/oai=explode", "/oai", "/oai=503*x"])
def test_bad_fault_rules_are_quoted(rule: str) -> None:
    with pytest.raises(ValueError, match="fault"):
        parse_faults(rule)


def test_a_broken_list_of_items_is_named(tmp_path: Path) -> None:
    (tmp_path / "items.jsonl").write_text('{"id": "a", "protocol": "gopher", "set": "s"}\n')
    with pytest.raises(ValueError, match=r"items\.jsonl, line 1: field 'protocol'"):
        load_items(tmp_path)
    with pytest.raises(RuntimeError, match="field 'protocol'"):
        Upstream.start(tmp_path, log=tmp_path / "log")


def test_the_sample_has_what_it_promises() -> None:
    items = load_items(SAMPLE)
    texts = [item for item in items if item.modality == "text"]
    assert {item.domain for item in items} == {"biology", "philosophy", "astrobiology", "alife", "synbio"}
    assert {item.modality for item in items} == {"text", "dna", "protein", "image", "audio", "dialogue"}
    assert len({item.language for item in texts}) >= 8
    stated = {item.licence for item in texts}
    assert {None, "All rights reserved", "CC-BY-NC-ND-4.0", "CC-BY-4.0", "CC0-1.0"} <= stated
    named = (SAMPLE / "README.md").read_text(encoding="utf-8")
    hard = [
        item.id for item in items if item.stated_sha256 or item.id.startswith(("damaged", "empty", "private"))
    ]
    hard += ["mojibake-fr", "latin1-text", "drake-copy", "ship-near-copy", "scanned-page"]
    assert [name for name in hard if f"`{name}`" not in named] == []
