"""The gateway as a service: `python -m serving.gateway_service JOBDIR`.

spec.json: {"folder": LUCA_HOME/serving, "port": wanted loopback port, "limits": {GatewayConfig fields}}.
The routes come from the folder (serving/config.py), so the process outlives the releases that it serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from resources.job_folder import announce_service
from serving.config import GatewayConfig
from serving.gateway import Gateway
from serving.live import load_vocabulary, trace_text
from serving.sockets import LOOPBACK, listen
from serving.state import State

DEFAULT_PORT = 8137
HEAD_LIMIT = 64 * 1024


def main(arguments: list[str] | None = None) -> int:
    """Serve until TERM; requests under way get five seconds to end."""
    (folder,) = [Path(a).resolve() for a in (sys.argv[1:] if arguments is None else arguments)]
    spec: dict[str, Any] = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    config = GatewayConfig(folder=Path(spec["folder"]), **spec.get("limits", {}))
    state = State(config, load_vocabulary=load_vocabulary, trace_text=trace_text)
    listener = listen(int(spec.get("port", DEFAULT_PORT)))
    url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    server = Server(server_config(Gateway(state)))
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_serve(server, listener, folder, url))
    return 0 if server.started else 1


class Server(uvicorn.Server):
    """uvicorn's own handlers raise the signal again after a clean end; here, being told to end is success."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's, with a bound on the request line and headers: its parser takes them without end."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._in_head, self._head_bytes, self._ended = True, 0, 0

    def data_received(self, data: bytes) -> None:
        ended = self._ended
        super().data_received(data)
        if self._in_head and ended == self._ended:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT and not self.transport.is_closing():
                self.send_400_response("The request's head is too large.")

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._ended = True, self._ended + 1
        super().on_message_complete()


def server_config(application: Gateway) -> uvicorn.Config:
    """uvicorn with the fast parser and loop, and nothing written per request."""
    return uvicorn.Config(
        application,  # type: ignore[arg-type]
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        server_header=False,
        # A warning for each malformed request would let anybody fill the log.
        log_level="error",
        timeout_graceful_shutdown=5,
        timeout_keep_alive=65,
    )


async def _serve(server: uvicorn.Server, listener: Any, folder: Path, url: str) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    if server.started:
        # What start-up made stays for good: the collector need not walk it again and again.
        gc.collect()
        gc.freeze()
        announce_service(folder, url)
        logging.getLogger("luca.gateway").info("serving at %s", url)
    await serving


def _new_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


if __name__ == "__main__":
    raise SystemExit(main())
