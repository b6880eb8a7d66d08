"""An HTTP answer as a value: what the protocols compute, and the server sends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

XML = "text/xml; charset=UTF-8"


@dataclass(frozen=True)
class Answer:
    """Status, headers and body; the body is bytes, or pieces with a known length."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: Iterator[bytes] | None = None
    length: int | None = None

    def stream(self) -> Iterator[bytes]:
        if self.pieces is not None:
            yield from self.pieces
        elif self.body:
            yield self.body

    @property
    def size(self) -> int:
        return len(self.body) if self.length is None else self.length


def xml_answer(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, text.encode(), XML, headers or {})


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    body = json.dumps(value, ensure_ascii=False, indent=1).encode()
    return Answer(status, body, "application/json", headers or {})


def element(name: str, text: str | None = None, **attributes: str | None) -> str:
    """One XML element with escaped text; attributes that are None are left out."""
    written = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items() if value is not None)
    return f"<{name}{written}/>" if text is None else f"<{name}{written}>{escape(text)}</{name}>"
