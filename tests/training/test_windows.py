"""Windows: every token of every document stands in some window, where the spans say."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.windows import Window, alone, pack

PAD = 0
DOCUMENTS = st.lists(st.lists(st.integers(1, 999), min_size=1, max_size=70), max_size=12)


@st.composite
def lengths(draw: st.DrawFn) -> tuple[int, int]:
    length = draw(st.integers(2, 24))
    return length, draw(st.integers(0, length // 2))


@given(DOCUMENTS, lengths())
def test_every_token_stands_where_the_spans_say(documents, shape):
    length, overlap = shape
    windows = list(pack([(f"d{n}", ids) for n, ids in enumerate(documents)], length, overlap, pad=PAD))
    found: dict[str, dict[int, int]] = {f"d{n}": {} for n in range(len(documents))}
    for window in windows:
        assert window.ids.shape == (length,)
        assert (window.ids[window.used :] == PAD).all() and (window.ids[: window.used] != PAD).all()
        assert window.spans[0].start == 0 and window.spans[-1].end == window.used
        assert all(a.end == b.start for a, b in zip(window.spans, window.spans[1:], strict=False))
        for span in window.spans:
            assert span.start < span.end
            for place in range(span.start, span.end):
                found[span.document_id][span.offset + place - span.start] = int(window.ids[place])
    for number, ids in enumerate(documents):
        assert found[f"d{number}"] == dict(enumerate(ids))


@given(DOCUMENTS, lengths())
def test_windows_overlap_by_exactly_that_much_and_none_is_superfluous(documents, shape):
    length, overlap = shape
    windows = list(pack([(f"d{n}", ids) for n, ids in enumerate(documents)], length, overlap, pad=PAD))
    total = sum(map(len, documents))
    step = length - overlap
    assert len(windows) == (0 if not total else max(1, -(-(total - overlap) // step)))
    for left, right in pairwise(windows):
        assert left.used == length
        assert np.array_equal(left.ids[step:], right.ids[:overlap])


def test_a_dialogue_is_alone_and_padded():
    window = alone("d#0", [5, 6, 7], 5, pad=PAD)
    assert isinstance(window, Window)
    assert window.ids.tolist() == [5, 6, 7, 0, 0] and window.used == 3
    assert alone("d#0", [1] * 6, 5, pad=PAD) is None


def test_impossible_lengths_are_refused():
    with pytest.raises(ValueError, match="overlap"):
        list(pack([("d", [1])], 8, 5, pad=PAD))
    with pytest.raises(ValueError, match="d has no tokens"):
        list(pack([("d", [])], 8, 2, pad=PAD))
