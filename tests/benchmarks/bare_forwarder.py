"""The least forwarder that Python can be: bytes in, bytes out, by ASGI and aiohttp, and nothing besides."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
import uvloop


class Forwarder:
    """Every request goes to `upstream` as it is."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if self.session is None:
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
            )
        body = (await receive())["body"]
        headers = {"content-type": "application/json"}
        async with self.session.post(self.upstream + scope["path"], data=body, headers=headers) as response:
            data = await response.read()
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
        await send({"type": "http.response.start", "status": response.status, "headers": head})
        await send({"type": "http.response.body", "body": data})


async def main(port_file: Path, upstream: str) -> None:
    """Serve, and write the port to the file."""
    config = uvicorn.Config(
        Forwarder(upstream),
        host="127.0.0.1",
        port=0,
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="error",
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    temporary = port_file.with_suffix(".part")
    temporary.write_text(str(server.servers[0].sockets[0].getsockname()[1]))
    temporary.replace(port_file)
    await task


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2]))
