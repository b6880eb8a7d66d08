"""Rolling a release: the engine up, the gateway up, the route over, the old engine down.

Every step attaches to what is already there, so a deploy that was cut off at any point is finished by the
next one. Engines and the gateway are services of the launcher (resources/launcher.py); their keys are
digests of what they serve and of their code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from resources.code_version import code_version
from resources.launcher import Job, LocalLauncher, Program
from resources.manifest import Manifest, artifact_key
from serving.client import Client, GatewayError
from serving.config import Route, read_routes, remove_route, write_route
from serving.gateway_service import DEFAULT_PORT
from serving.keys import KeyRing
from serving.vllm_service import healthy

ENGINE, GATEWAY = "engine-", "gateway-"
ENGINE_SECONDS = 600.0
GATEWAY_SECONDS = 60.0
ROUTE_SECONDS = 30.0
KEY_SECONDS = 10.0
START_ATTEMPTS = 2

Progress = Callable[[str], None]


class DeployError(RuntimeError):
    """A service that did not come up; the message ends with its log."""


def serving_folder(home: Path) -> Path:
    """Where routes, keys, answers and feedback are: LUCA_HOME/serving."""
    return home / "serving"


def engine_key(checkpoint: Manifest, serve: Mapping[str, Any]) -> str:
    """The job key of the engine that serves this checkpoint in this way."""
    code = code_version("serving.vllm_service")
    digest = artifact_key("engine", {checkpoint.name: checkpoint.version}, serve, code)
    return f"{ENGINE}{checkpoint.name.rsplit('/', 1)[-1]}-{digest}"


def ensure_engine(
    launcher: LocalLauncher, store_uri: str, checkpoint: Manifest, serve: Mapping[str, Any], say: Progress
) -> str:
    """URL of a healthy engine that serves the checkpoint; DeployError with the log's end if none comes up."""
    key = engine_key(checkpoint, serve)
    spec = {
        "store": store_uri,
        "artifact": "engine",
        "key": key,
        "inputs": {checkpoint.name: checkpoint.version},
        "parameters": dict(serve),
    }
    for attempt in range(1, START_ATTEMPTS + 1):
        job = launcher.submit(key, Program.module("serving.vllm_service"), spec, "service")
        url = wait_for_service(job, ENGINE_SECONDS, say)
        if url is not None and healthy(url):
            return url
        # A port that was taken meanwhile, or an engine that hangs: once more from the start, then say so.
        if attempt < START_ATTEMPTS:
            say(f"engine {key} is {job.state}: starting it again")
            launcher.cancel(key)
    raise DeployError(f"the engine {key} does not come up: {job.state}: {job.reason}\n{job.log_tail(40)}")


def ensure_gateway(launcher: LocalLauncher, folder: Path, say: Progress, port: int = DEFAULT_PORT) -> str:
    """URL of the gateway over `folder`, started if need be; one of older code is replaced."""
    key = GATEWAY + code_version(
        "serving",
        "training.vocabulary",
        "training.alphabets",
        "training.trace",
        "training.trace_spans",
        "training.suffix_array",
        "resources",
    )
    for job in launcher.jobs():
        if job.key.startswith(GATEWAY) and job.key != key and job.active:
            say(f"gateway {job.key} is of older code: replacing it")
            launcher.cancel(job.key)
    spec = {"folder": str(folder), "port": port}
    job = launcher.submit(key, Program.module("serving.gateway_service"), spec, "service")
    url = wait_for_service(job, GATEWAY_SECONDS, say)
    if url is None:
        raise DeployError(f"the gateway does not come up: {job.state}: {job.reason}\n{job.log_tail(40)}")
    return url


def wait_for_service(job: Job, seconds: float, say: Progress) -> str | None:
    """The service's URL once it says it, or None when it ended or took longer; says how far it is."""
    deadline = time.monotonic() + seconds
    said = 0.0
    while job.active and time.monotonic() < deadline:
        if (url := job.service_url()) is not None:
            return url
        progress = job.progress()
        if progress and time.monotonic() - said > 5:
            said = time.monotonic()
            done = f"{progress['stage']} {progress['done']:g} {progress['unit']}"
            say(f"{job.key}: {done} {progress['message']}".rstrip())
        time.sleep(0.2)
    return None


def candidate_of(route: Route) -> Route:
    """The same route under a name that only its asker knows, to try it before it is promoted."""
    return replace(route, alias=f"{route.alias}.candidate", candidate=True)


def serve_route(url: str, folder: Path, route: Route) -> None:
    """Write a route and wait until the gateway serves it by a healthy engine; DeployError if it does not."""
    write_route(folder, route)
    client = Client(url, "", timeout=5)
    deadline = time.monotonic() + ROUTE_SECONDS
    state: dict[str, Any] = {}
    while time.monotonic() < deadline:
        try:
            state = client.ready()
        except GatewayError as error:
            state = {"reasons": [str(error)]}
        if state.get("releases", {}).get(route.alias) == {"release": route.release, "engine": True}:
            return
        time.sleep(0.1)
    raise DeployError(f"the gateway at {url} does not serve {route.alias}: {state.get('reasons')}")


def drop_route(folder: Path, alias: str) -> None:
    """Serve an alias no longer."""
    remove_route(folder, alias)


def retire_engines(launcher: LocalLauncher, folder: Path, recipe: str) -> list[str]:
    """End every engine of a recipe that no route needs; returns the keys of those ended."""
    needed = {route.engine for route in read_routes(folder)[0].values()}
    ended = []
    for job in launcher.jobs():
        url = job.service_url() if job.key.rpartition("-")[0] == f"{ENGINE}{recipe}" else None
        if url is not None and url not in needed:
            launcher.cancel(job.key)
            ended.append(job.key)
    return ended


def find_gateway(launcher: LocalLauncher) -> str | None:
    """URL of the running gateway, or None."""
    for job in launcher.jobs():
        if job.key.startswith(GATEWAY) and (url := job.service_url()) is not None:
            return url
    return None


def local_client(launcher: LocalLauncher, folder: Path) -> Client | None:
    """A client of the running gateway with this machine's own key, or None when nothing is served.

    A key that was made just now counts within a second; this waits for that. GatewayError if it never does.
    """
    url = find_gateway(launcher)
    if url is None:
        return None
    client = Client(url, KeyRing(folder).local())
    deadline = time.monotonic() + KEY_SECONDS
    while True:
        try:
            client.models()
        except GatewayError as error:
            if error.status != 401 or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return client


def stop_services(launcher: LocalLauncher) -> list[str]:
    """End the gateway, then every engine; returns the keys of those ended."""
    services = [job for job in launcher.jobs() if job.key.startswith((GATEWAY, ENGINE)) and job.active]
    # The gateway first: its callers then meet a closed port, not an engine that went away.
    for job in sorted(services, key=lambda job: (not job.key.startswith(GATEWAY), job.key)):
        launcher.cancel(job.key)
    return [job.key for job in services]
