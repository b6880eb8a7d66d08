"""The local upstream: one loopback server that speaks every source protocol over a folder of items.

    python -m deploy.local.upstream --items deploy/local/sample --port 0 --port-file FILE
    python -m deploy.local.upstream --mapping tests.golden.mapping --root FOLDER

It prints its URL, counts requests by path (``/_upstream/stats``), and can be told to delete or change
an item (``/_upstream/delete?id=…``, ``/_upstream/change?id=…``) or to misbehave (``--faults``, or POST
rules to ``/_upstream/faults``; see faults.py). The protocols compute answers; only this file does I/O.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import socket
import struct
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from deploy.local import files, oai, pds, xeno_canto
from deploy.local.answer import Answer, json_answer
from deploy.local.entrez import Entrez
from deploy.local.faults import CHALLENGE, Fault, Faults, parse_faults
from deploy.local.items import Library, load_items

SAMPLE_ORIGIN = "http://sample.luca.test"


class Server:
    """Routes requests to the protocols, applies faults, counts."""

    def __init__(self, library: Library, faults: Faults, settings: oai.OaiSettings) -> None:
        self.library = library
        self.faults = faults
        self.settings = settings
        self.entrez = Entrez(library)
        self.requests: Counter[str] = Counter()
        self.bytes_sent = 0

    def application(self) -> web.Application:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_route("*", "/{path:.*}", self.handle)
        return application

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path.startswith("/_upstream/"):
            return await self._send(request, await self._control(request), None)
        self.requests[path] += 1
        fault = self.faults.next(path)
        if fault is not None and fault.kind == "stall":
            await asyncio.sleep(fault.number(1.0))
        answer = _instead(fault) if fault is not None else None
        if answer is None:
            answer = self._answer(request, await _parameters(request), fault)
        return await self._send(request, answer, fault)

    def _answer(self, request: web.Request, parameters: dict[str, list[str]], fault: Fault | None) -> Answer:
        first = {key: values[0] for key, values in parameters.items()}
        match request.path.strip("/").split("/"):
            case ["robots.txt"]:
                return files.robots()
            case ["oai"]:
                kind = fault.kind if fault else ""
                changed = replace(
                    self.settings, unprocessable=kind == "unprocessable", expired=kind == "expired"
                )
                return oai.answer(self.library, parameters, changed)
            case ["entrez", "eutils", utility] if utility.endswith(".fcgi"):
                return self.entrez.answer(utility.removesuffix(".fcgi"), first)
            case ["api", "search", "1", "health"]:
                return json_answer({"status": "UP"})
            case ["api", "search", "1", "products"]:
                return pds.search(self.library, parameters)
            case ["api", "search", "1", "classes", "observationals"]:
                return pds.search(self.library, parameters, "Product_Observational")
            case ["api", "search", "1", "products", identifier, *tail]:
                return pds.product(self.library, identifier, tail[0] if tail else None)
            case ["labels", name] if name.endswith(".xml"):
                return pds.label(self.library, name.removesuffix(".xml"))
            case ["api", "3", "recordings"]:
                return xeno_canto.answer(self.library, first)
            case [number, "download"] if number.isdigit():
                item = self.library.item("xeno_canto", number)
                if item is None or item.path is None or item.fields.get("restricted"):
                    return Answer(404, b"no such recording\n")
                return files.file(self.library, item.path, request.headers)
            case ["lists", name] if name.endswith(".jsonl"):
                return files.web_list(self.library, name.removesuffix(".jsonl"), request.headers)
            case ["files", *path]:
                return files.file(self.library, "/".join(path), request.headers)
        return Answer(404, b"nothing here\n")

    async def _control(self, request: web.Request) -> Answer:
        """The upstream's own levers; ``date`` fixes the date that a change gets."""
        action, query = request.path.removeprefix("/_upstream/"), request.query
        date = query.get("date") or datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = await request.read()
        try:
            match action:
                case "health":
                    return json_answer({"status": "up", "pid": os.getpid()})
                case "stats":
                    total = sum(self.requests.values())
                    by_path = dict(sorted(self.requests.items()))
                    if query.get("reset"):
                        self.requests.clear()
                    return json_answer({"total": total, "bytes_sent": self.bytes_sent, "requests": by_path})
                case "delete":
                    return json_answer([item.id for item in self.library.delete(query["id"], date)])
                case "change":
                    changed = self.library.change(query["id"], date, body or None)
                    return json_answer([item.id for item in changed])
                case "faults":
                    self.faults = Faults(parse_faults(body.decode()))
                    return json_answer([rule.path for rule in self.faults.rules])
        except KeyError as error:
            return json_answer({"error": f"no item (or no parameter) {error}"}, 404)
        except ValueError as error:
            return json_answer({"error": str(error)}, 400)
        return Answer(404, b"health, stats, delete, change, faults\n")

    async def _send(self, request: web.Request, answer: Answer, fault: Fault | None) -> web.StreamResponse:
        kind = fault.kind if fault else ""
        response = web.StreamResponse(status=answer.status, headers=dict(answer.headers))
        if answer.status not in (204, 304):
            response.headers["Content-Type"] = answer.content_type
        size = answer.size
        allowed = size
        if kind in ("truncate", "reset", "short"):
            assert fault is not None
            allowed = min(size, int(fault.number(size // 2)))
        response.content_length = allowed if kind == "short" else size
        if kind == "retry200" and fault is not None:
            response.headers["Retry-After"] = fault.argument or "1"
        if request.method == "HEAD" or answer.status == 304:
            await response.prepare(request)
            return response
        await response.prepare(request)
        sent = 0
        for piece in answer.stream():
            part = piece[: allowed - sent]
            if kind == "drip" and fault is not None:
                await _drip(response, part, fault.number(1000))
            else:
                await response.write(part)
            sent += len(part)
            if sent >= allowed:
                break
        self.bytes_sent += sent
        if kind in ("truncate", "reset"):
            _break(request, abruptly=kind == "reset")
            return response
        await response.write_eof()
        return response


def _instead(fault: Fault) -> Answer | None:
    """The answer that a fault puts in the place of the true one, if it does."""
    if fault.kind.isdigit():
        headers = {"Retry-After": fault.argument} if fault.argument else {}
        return Answer(int(fault.kind), b"not now\n", headers=headers)
    if fault.kind == "html":
        return Answer(200, CHALLENGE, "text/html; charset=utf-8")
    if fault.kind == "ratelimit":
        return json_answer({"error": "API rate limit exceeded", "count": "11"})
    if fault.kind == "empty":
        return Answer(200, b"")
    return None


def _break(request: web.Request, abruptly: bool) -> None:
    """Close the connection before the promised length; abruptly with a TCP reset."""
    transport = request.transport
    if transport is None:
        return
    if abruptly:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()


async def _drip(response: web.StreamResponse, content: bytes, rate: float) -> None:
    step = max(1, int(rate / 10))
    for start in range(0, len(content), step):
        await response.write(content[start : start + step])
        await asyncio.sleep(0.1)


async def _parameters(request: web.Request) -> dict[str, list[str]]:
    parameters: dict[str, list[str]] = {}
    pairs = list(request.query.items())
    if request.method == "POST":
        pairs += [(key, str(value)) for key, value in (await request.post()).items()]
    for key, value in pairs:
        parameters.setdefault(key, []).append(value)
    return parameters


def library_from(arguments: argparse.Namespace) -> Library:
    """The items that the command line names: a folder with items.jsonl, or a mapping over a root."""
    if arguments.mapping:
        module = importlib.import_module(arguments.mapping)
        root = Path(arguments.root)
        return Library(module.items(root), root, arguments.origin or module.ORIGIN)
    folder = Path(arguments.items)
    return Library(load_items(folder), folder, arguments.origin or SAMPLE_ORIGIN)


async def serve(server: Server, port: int, port_file: Path | None) -> None:
    """Listen on loopback until cancelled; the port file is written when the server answers."""
    runner = web.AppRunner(server.application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    assert site._server is not None and isinstance(site._server, asyncio.Server)
    bound = site._server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{bound}", flush=True)
    if port_file is not None:
        partial = port_file.with_name(port_file.name + ".partial")
        partial.write_text(f"{bound}\n")
        partial.replace(port_file)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="deploy.local.upstream", description=__doc__.partition("\n")[0] if __doc__ else ""
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--items", help="folder with items.jsonl and the files")
    source.add_argument("--mapping", help="module with items(root) and ORIGIN")
    parser.add_argument("--root", help="folder that the mapping is over")
    parser.add_argument("--origin", help="public origin in the addresses that are given out")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--port-file", type=Path)
    parser.add_argument("--faults", default="", help="rules, as in deploy/local/faults.py")
    parser.add_argument("--page", type=int, default=10, help="OAI records a page")
    parser.add_argument("--token-seconds", type=float, default=120.0, help="life of an OAI token")
    arguments = parser.parse_args(argv)
    if arguments.mapping and not arguments.root:
        parser.error("--mapping needs --root")
    try:
        library, faults = library_from(arguments), Faults(parse_faults(arguments.faults))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    settings = oai.OaiSettings(page=arguments.page, token_seconds=arguments.token_seconds)
    try:
        asyncio.run(serve(Server(library, faults, settings), arguments.port, arguments.port_file))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
