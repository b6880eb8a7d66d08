"""Verbatim passages: against a brute-force search, and where words begin and end."""

from hypothesis import given, settings
from hypothesis import strategies as st

from training.suffix_array import SuffixArray, build_suffixes, common
from training.trace_spans import maximal, verbatim_passages

SMALL = st.text("ab é生", max_size=40)


def array_of(*texts: str) -> SuffixArray:
    text = b"".join(text.encode() + b"\xff" for text in texts)
    return SuffixArray(text, build_suffixes(text))


def brute_force(query: str, *texts: str) -> list[tuple[int, int]]:
    """All substrings of the query that stand in a text and cannot be made longer."""
    stands = [
        (start, end)
        for start in range(len(query))
        for end in range(start + 1, len(query) + 1)
        if any(query[start:end] in text for text in texts)
    ]
    return sorted(
        (s, e) for s, e in stands if not any(a <= s and e <= b and (a, b) != (s, e) for a, b in stands)
    )


@settings(max_examples=300, deadline=None)
@given(SMALL, SMALL, SMALL)
def test_maximal_passages_are_those_of_a_brute_force_search(query, first, second):
    assert [tuple(p) for p in maximal(array_of(first, second), query)] == brute_force(query, first, second)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.binary(min_size=1, max_size=6))
def test_occurrences_are_all_of_them(text, query):
    array = SuffixArray(text, build_suffixes(text))
    expected = [place for place in range(len(text)) if text.startswith(query, place)]
    assert sorted(int(array.suffixes[place]) for place in array.occurrences(query)) == expected
    assert array.longest(query) == max((n for n in range(len(query) + 1) if query[:n] in text), default=0)


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_common_prefix(left, right):
    size = common(left, right)
    assert left[:size] == right[:size]
    assert left[size : size + 1] != right[size : size + 1] or size == min(len(left), len(right))


def found(query: str, least: int, *texts: str) -> list[str]:
    return [query[p.start : p.end] for p in verbatim_passages(array_of(*texts), query, least)]


def test_passages_are_trimmed_to_words():
    text = "the membrane keeps the water in"
    assert found("xthe membrane keeps the waters", 10, text) == ["membrane keeps the"]
    assert found("the membrane keeps the water", 10, text) == ["the membrane keeps the water"]


def test_a_passage_made_long_by_pieces_of_words_is_left_out():
    assert found("unthe cell", 8, "the celldom") == []


def test_a_passage_inside_one_word_is_kept_as_it_is():
    assert found("ACGTTGCAACGTTGCA", 10, "GGGGCGTTGCAACGTTGTT") == ["CGTTGCAACGTTG"]


def test_scripts_without_spaces_are_cut_at_characters():
    assert found("水は命の流れである", 5, "大河の水は命の流れに似る") == ["水は命の流れ"]


def test_nothing_found_and_nothing_asked():
    assert found("", 5, "some text") == []
    assert found("qqqq zzzz", 5, "some text") == []
    assert found("some text", 5) == []
