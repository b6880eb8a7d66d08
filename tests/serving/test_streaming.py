from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.streaming import EventReader, read_delta


@given(st.lists(st.text(max_size=20), max_size=20), st.data())
def test_events_survive_any_cut(texts: list[str], data: st.DataObject) -> None:
    wire = b"".join(
        b"data: " + json.dumps(t, ensure_ascii=False).encode("utf-8", "replace") + b"\n\n" for t in texts
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
    reader = EventReader()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += reader.feed(wire[start:end])
    assert [json.loads(f) for f in found] == [t.encode("utf-8", "replace").decode() for t in texts]


@pytest.mark.parametrize(
    "event",
    [
        b'{"error": {"message": "EngineDeadError", "code": 500}}',
        b'{"choices": [{}]}',
        b"[]",
        b"nonsense",
        b'{"choices": [], "usage": {}}x',
    ],
)
def test_what_is_no_completion_event_is_an_error(event: bytes) -> None:
    with pytest.raises(ValueError):
        read_delta(event)


def test_an_endless_event_is_refused() -> None:
    reader = EventReader()
    with pytest.raises(ValueError, match="1 MiB"):
        for _ in range(20):
            reader.feed(b"data: " + b"x" * 100_000)
