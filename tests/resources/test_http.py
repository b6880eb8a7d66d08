"""The HTTP client and downloads against a real loopback server that misbehaves on request."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from resources.http import HttpClient, default_folder, retry_after
from resources.http_errors import BadResponse, DamagedPayload, Denied, Gone, TooLarge, Transient, Unreachable
from resources.redact import redact
from resources.spacing import Spacing, spacing_of
from resources.transfer import Expected, Validators, content_range, download, sweep

BODY = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(BODY).hexdigest()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler, folder: Path, **options: object) -> AsyncIterator[HttpClient]:
    """A client for http://far.test, routed to a server with this handler."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    settings = {"backoff": 0.01, "folder": folder, **options}
    try:
        async with HttpClient(
            routes={"http://far.test": f"http://127.0.0.1:{port}"},
            **settings,  # type: ignore[arg-type]
        ) as http:
            yield http
    finally:
        await runner.cleanup()


def test_a_route_keeps_the_host_the_contact_and_the_stored_address(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response([request.host, request.headers["User-Agent"], request.query["q"]])

    async def body() -> None:
        async with serving(handler, tmp_path, contact="a@b.test") as http:
            answer = await http.get("http://far.test/x", {"q": "a b"})
            assert answer.json() == ["far.test", "luca/0.1 (+a@b.test)", "a b"]
            assert answer.url == "http://far.test/x?q=a+b"

    asyncio.run(body())


def test_busy_answers_are_retried_and_retry_after_is_heeded(tmp_path: Path) -> None:
    times: list[float] = []

    async def handler(request: web.Request) -> web.Response:
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            return web.Response(status=503, headers={"Retry-After": "1"})
        return web.Response(status=429) if len(times) == 2 else web.Response(text="ok")

    async def body() -> None:
        async with serving(handler, tmp_path) as http:
            assert (await http.get("http://far.test/")).body == b"ok"

    asyncio.run(body())
    assert times[1] - times[0] >= 1.0
    assert times[2] - times[1] < 0.9


def test_a_wait_that_is_too_long_ends_the_request(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "86400"})

    async def body() -> None:
        async with serving(handler, tmp_path) as http:
            with pytest.raises(Unreachable, match="86400 s"):
                await http.get("http://far.test/")
            assert http.requests == 1

    asyncio.run(body())


@pytest.mark.parametrize(
    ("status", "error"), [(401, Denied), (403, Denied), (404, Gone), (410, Gone), (400, BadResponse)]
)
def test_statuses_are_told_apart_and_quoted(status: int, error: type[Exception], tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status, text="Just a moment")

    async def body() -> None:
        async with serving(handler, tmp_path) as http:
            with pytest.raises(error, match="Just a moment"):
                await http.get("http://far.test/")
            assert http.requests == 1

    asyncio.run(body())


def test_redirects_are_followed_by_route_and_loops_end(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/loop":
            raise web.HTTPFound("/loop")
        if request.path == "/old":
            raise web.HTTPMovedPermanently("http://far.test/new")
        if request.path == "/out":
            raise web.HTTPFound("file:///etc/passwd")
        return web.Response(text=request.host)

    async def body() -> None:
        async with serving(handler, tmp_path) as http:
            assert (await http.get("http://far.test/old")).body == b"far.test"
            with pytest.raises(BadResponse, match="redirects"):
                await http.get("http://far.test/loop")
            with pytest.raises(BadResponse, match="file:"):
                await http.get("http://far.test/out")

    asyncio.run(body())


def test_keys_do_not_reach_errors(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=403, text=f"bad key {request.query['key']}")

    async def body() -> None:
        async with serving(handler, tmp_path, secrets=("s3cret",)) as http:
            with pytest.raises(Denied) as caught:
                await http.get("http://far.test/", {"key": "s3cret"})
            assert "s3cret" not in str(caught.value)

    asyncio.run(body())
    assert redact("https://u:p@h/x?api_key=abc&resumptionToken=t&key=k") == (
        "https://***@h/x?api_key=***&resumptionToken=t&key=***"
    )


def test_answers_over_the_limit_are_refused(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=BODY)

    async def body() -> None:
        async with serving(handler, tmp_path) as http:
            with pytest.raises(TooLarge):
                await http.get("http://far.test/", max_bytes=1000)
            with pytest.raises(TooLarge):
                await download(http, "http://far.test/", max_bytes=1000)

    asyncio.run(body())
    assert not [p for p in tmp_path.iterdir() if p.suffix in (".part", ".done", ".json")]


def test_an_unreachable_host_is_named_with_the_mend(tmp_path: Path) -> None:
    async def body() -> None:
        async with HttpClient(
            routes={"http://far.test": "http://127.0.0.1:1"}, attempts=2, backoff=0.01, folder=tmp_path
        ) as http:
            with pytest.raises(Unreachable, match=r"far\.test.*2 attempts.*try again later"):
                await http.get("http://far.test/")

    asyncio.run(body())


class Files:
    """Serves BODY with validators and ranges; cuts the first `breaks` answers short."""

    def __init__(self, breaks: int = 0, etag: str = '"v1"', body: bytes = BODY):
        self.breaks, self.etag, self.body = breaks, etag, body
        self.ranges: list[str | None] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("If-None-Match") == self.etag:
            return web.Response(status=304)
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if asked and request.headers.get("If-Range") != self.etag:
            start = 0
        rest = self.body[start:]
        response = web.StreamResponse(status=206 if start else 200, headers={"ETag": self.etag})
        if start:
            end = len(self.body) - 1
            response.headers["Content-Range"] = f"bytes {start}-{end}/{len(self.body)}"
        response.content_length = len(rest)
        await response.prepare(request)
        if self.breaks:
            self.breaks -= 1
            await response.write(rest[: len(rest) // 2])
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(rest)
        return response


def test_a_broken_download_goes_on_where_it_stopped(tmp_path: Path) -> None:
    files = Files(breaks=2)

    async def body() -> None:
        async with serving(files, tmp_path) as http:
            got = await download(http, "http://far.test/f", expected=Expected(len(BODY), SHA256))
            assert got is not None
            assert (got.sha256, got.bytes, got.validators.etag) == (SHA256, len(BODY), '"v1"')
            got.discard()

    asyncio.run(body())
    assert files.ranges[0] is None
    assert all(r is not None for r in files.ranges[1:])
    assert len(files.ranges) == 3


def test_a_later_process_goes_on_and_starts_over_when_the_file_changed(tmp_path: Path) -> None:
    async def body() -> None:
        for changed in (False, True):
            broken = Files(breaks=100)
            async with serving(broken, tmp_path, attempts=1) as http:
                with pytest.raises(Unreachable):
                    await download(http, "http://far.test/f")
            whole = Files(etag='"v2"', body=b"new" * 1000) if changed else Files()
            async with serving(whole, tmp_path) as http:
                got = await download(http, "http://far.test/f")
                assert got is not None
                assert got.path.read_bytes() == whole.body
                got.discard()
            assert whole.ranges[0] is not None

    asyncio.run(body())


def test_conditional_requests(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(Files(), tmp_path) as http:
            assert await download(http, "http://far.test/f", validators=Validators('"v1"')) is None
            got = await download(http, "http://far.test/f", validators=Validators('"v0"'))
            assert got is not None and got.bytes == len(BODY)
            got.discard()

    asyncio.run(body())


def test_wrong_checksums_and_lengths_are_damage(tmp_path: Path) -> None:
    async def body() -> None:
        async with serving(Files(), tmp_path) as http:
            wrong = (Expected(sha256="0" * 64), Expected(md5="0" * 32), Expected(bytes=3))
            for expected in wrong:
                with pytest.raises(DamagedPayload, match="upstream states") as caught:
                    await download(http, "http://far.test/f", expected=expected)
                assert caught.value.validators == Validators('"v1"')

    asyncio.run(body())
    assert [p for p in tmp_path.iterdir() if p.suffix != ".slot"] == []


def test_a_payload_that_stays_refused_ends_as_a_bad_response(tmp_path: Path) -> None:
    def inspect(head: bytes) -> None:
        raise Transient("nothing yet")

    async def body() -> None:
        files = Files()
        async with serving(files, tmp_path) as http:
            with pytest.raises(BadResponse, match="3 times"):
                await download(http, "http://far.test/f", inspect=inspect)
            assert len(files.ranges) == 3

    asyncio.run(body())
    assert [p for p in tmp_path.iterdir() if p.suffix != ".slot"] == []


def test_an_encoded_answer_is_decoded_and_a_broken_one_is_damage(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        body = gzip.compress(BODY)
        if request.path == "/broken":
            body = body[:-100]
        return web.Response(body=body, headers={"Content-Encoding": "gzip"})

    async def body() -> None:
        async with serving(handler, tmp_path) as http:
            got = await download(http, "http://far.test/f", expected=Expected(sha256=SHA256))
            assert got is not None and got.sha256 == SHA256
            got.discard()
            with pytest.raises(DamagedPayload, match="gzip"):
                await download(http, "http://far.test/broken")

    asyncio.run(body())


def test_spacing_is_shared_and_ordered(tmp_path: Path) -> None:
    one, other = Spacing(tmp_path), Spacing(tmp_path)
    waits = [s.reserve("host", 0.5) for s in (one, other, one)]
    assert waits[0] == 0
    assert 0.4 < waits[1] <= 0.5
    assert 0.9 < waits[2] <= 1.0
    assert spacing_of("eutils.ncbi.nlm.nih.gov", {}) == 0.37
    assert spacing_of("127.0.0.1", {}) == 0


def test_retry_after_reads_seconds_and_dates() -> None:
    assert retry_after("120", 0) == 120
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 0) == 60
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 1000) == 0
    assert retry_after("soon", 0) is None
    assert retry_after(None, 0) is None


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_content_ranges(start: int, length: int, total: int) -> None:
    header = {"content-range": f"bytes {start}-{start + length}/{total}"}
    assert content_range(header) == (start, total)
    assert content_range({"content-range": f"bytes */{total}"}) == (None, total)
    assert content_range({"content-range": json.dumps(total)}) == (None, None)


def test_a_redirect_to_a_private_address_is_refused(tmp_path: Path) -> None:
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def body() -> None:
        async with serving(handler, tmp_path) as http:
            for to in (
                "http://127.0.0.1:9/",
                "http://169.254.169.254/latest",
                "http://[::1]/",
                "http://localhost/",
            ):
                with pytest.raises(BadResponse, match="private network"):
                    await http.get("http://far.test/", {"to": to})
            with pytest.raises(BadResponse, match="redirects to"):
                await http.get("http://far.test/", {"to": "http://[::1"})
            http.public_only = True
            with pytest.raises(Denied, match="private network"):
                await http.get("http://10.0.0.1/")
        assert seen == ["/"] * 5

    asyncio.run(body())


@pytest.mark.parametrize("url", ["http://[::1", "http://h:port/", "http://", "ftp://h/", "h", "http:///x"])
def test_what_is_no_address_is_a_bad_response(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadResponse, match="address"):
        HttpClient(folder=tmp_path).logical(url)


def test_a_range_that_comes_short_is_no_whole_file(tmp_path: Path) -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Range", ""))
        answer = web.StreamResponse(headers={"ETag": '"a"'})
        start = int(asked[-1].removeprefix("bytes=").removesuffix("-") or 0)
        if start:
            end = min(start + 300_000, len(BODY))
            answer.set_status(206)
            answer.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(BODY)}"
            answer.content_length = end - start
            await answer.prepare(request)
            await answer.write(BODY[start:end])
            return answer
        answer.content_length = len(BODY)
        await answer.prepare(request)
        await answer.write(BODY[:300_000])
        assert request.transport is not None
        request.transport.abort()
        return answer

    async def body() -> None:
        async with serving(handler, tmp_path) as http:
            got = await download(http, "http://far.test/f")
            assert got is not None and got.sha256 == SHA256

    asyncio.run(body())
    assert len(asked) >= 4


def test_a_refused_encoding_leaves_nothing_behind(tmp_path: Path) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/bomb":
            return web.Response(body=gzip.compress(bytes(3 << 20)), headers={"Content-Encoding": "gzip"})
        return web.Response(body=b"\x0b" * 5000, headers={"Content-Encoding": "br"})

    async def body() -> None:
        async with serving(handler, tmp_path) as http:
            with pytest.raises(TooLarge):
                await download(http, "http://far.test/bomb", max_bytes=1 << 20)
            with pytest.raises(BadResponse, match="Encoding br"):
                await download(http, "http://far.test/br")

    asyncio.run(body())
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".slot"] == []


def test_what_killed_downloads_left_is_swept(tmp_path: Path) -> None:
    old, fresh = tmp_path / "a.1.done", tmp_path / "b.2.done"
    for path in (old, fresh):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    sweep(tmp_path)
    assert not old.exists() and fresh.exists()


def test_the_default_folder_is_nobody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LUCA_TRANSFERS", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = default_folder()
    folder.symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="LUCA_TRANSFERS"):
        default_folder()
