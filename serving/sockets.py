"""Listening on loopback: a wanted port where it is free, else any."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


def listen(port: int) -> socket.socket:
    """A listening TCP socket on loopback: `port` if it is free, else one that the system chooses."""
    for wanted in dict.fromkeys((port, 0)):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, wanted))
            listener.listen(1024)
        except OSError:
            listener.close()
            if wanted == 0:
                raise
        else:
            return listener
    raise OSError(f"no free port on {LOOPBACK}")


def free_port() -> int:
    """A port that was free just now, for a program that can only be told a number."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
