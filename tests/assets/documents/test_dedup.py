"""Duplicates: planted ones are found, careless merges are not made, the outcome does not depend on order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.documents.dedup import THRESHOLD, UnionFind, find_duplicates
from assets.documents.schema import content_sha256
from assets.documents.shingles import hashed, jaccard, shingles

VOCABULARY = [f"word{i}" for i in range(3000)]


def document(
    name: str, text: str, source: str = "a", kind: str = "document", modality: str = "text"
) -> dict[str, Any]:
    return {
        "document_id": name,
        "source": source,
        "kind": kind,
        "modality": modality,
        "text": text,
        "content_sha256": content_sha256(modality, text, None, None),
    }


def prose(seed: int, words: int = 150) -> str:
    return " ".join(random.Random(seed).choices(VOCABULARY, k=words))


def changed(text: str, places: Sequence[int]) -> str:
    words = text.split()
    for place in places:
        words[place] = "changed"
    return " ".join(words)


def decide(rows: list[dict[str, Any]], tiers: dict[str, int] | None = None) -> dict[str, dict[str, Any]]:
    return {row["document_id"]: row for row in find_duplicates(lambda: rows, tiers or {}).rows()}


def test_exact_duplicates_yield_to_the_canonical_source() -> None:
    found = decide([document("a/1", prose(1)), document("z/1", prose(1), "z")], {"a": 1, "z": 0})
    assert found["z/1"]["keep"] and not found["a/1"]["keep"]
    assert (found["a/1"]["reason"], found["a/1"]["duplicate_of"], found["a/1"]["cluster"]) == (
        "exact_duplicate",
        "z/1",
        "z/1",
    )


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    rows = [document(f"a/{i:04d}", prose(i)) for i in range(400)]
    rows += [document(f"b/{i:04d}", changed(prose(i), [75]), "b") for i in range(0, 400, 4)]
    found = decide(rows)
    dropped = {name for name, row in found.items() if not row["keep"]}
    planted = {row["document_id"] for row in rows if row["source"] == "b"}
    assert dropped <= planted and len(dropped) >= 0.98 * len(planted)
    assert all(
        found[n]["duplicate_of"] == "a" + n[1:] and found[n]["similarity"] >= THRESHOLD for n in dropped
    )


def test_order_of_arrival_changes_nothing() -> None:
    rows = [document(f"a/{i}", prose(i)) for i in range(40)]
    rows += [document(f"b/{i}", changed(prose(i), [3 * i]), "b") for i in range(40)]
    shuffled = random.Random(3).sample(rows, len(rows))
    assert decide(rows) == decide(shuffled)


def test_chains_do_not_wipe_out_their_far_end() -> None:
    texts = [prose(5, 200)]
    for step in range(6):
        texts.append(changed(texts[-1], [10 + 30 * step, 20 + 30 * step]))
    found = decide([document(f"a/{i}", text) for i, text in enumerate(texts)])
    assert len({row["cluster"] for row in found.values()}) == 1
    kept = [name for name, row in found.items() if row["keep"]]
    assert "a/0" in kept and len(kept) >= 2
    sets = {f"a/{i}": hashed(shingles(text)) for i, text in enumerate(texts)}
    for name, row in found.items():
        if not row["keep"]:
            assert row["duplicate_of"] in kept
            assert jaccard(sets[name], sets[row["duplicate_of"]]) == pytest.approx(
                row["similarity"], abs=1e-6
            )


def test_short_texts_and_templates_are_not_merged() -> None:
    template = "The species {} was recorded at station nine in the spring survey by the usual team."
    found = decide([document(f"a/{i}", template.format(f"Genus{i}")) for i in range(30)])
    assert all(row["keep"] for row in found.values())


def test_sequences_are_compared_exactly_only_and_kinds_apart() -> None:
    letters = "".join(random.Random(1).choices("ACGT", k=3000))
    found = decide(
        [
            document("a/1", letters, modality="dna"),
            document("a/2", letters[:-1], modality="dna"),
            document("a/3", letters, modality="dna"),
            document("a/4", letters, modality="protein"),
            document("a/5", prose(1)),
            document("a/6", prose(1), kind="dialogue"),
        ]
    )
    assert {name for name, row in found.items() if not row["keep"]} == {"a/3"}


def test_languages_without_spaces_have_shingles_too() -> None:
    text = "".join(
        random.Random(2).choices("生命在水中開始的時候沒有人知道它會走到哪裡去山川湖海風雨雷電", k=400)
    )
    found = decide(
        [document("a/1", text), document("a/2", text[:200] + "鳥" + text[201:]), document("a/3", text[::-1])]
    )
    assert [row["keep"] for row in found.values()] == [True, False, True]


@settings(deadline=None)
@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_jaccard_is_that_of_the_sets(left: set[int], right: set[int]) -> None:
    true = len(left & right) / max(1, len(left | right))
    assert jaccard(hashed({str(x) for x in left}), hashed({str(x) for x in right})) == pytest.approx(true)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=40))
def test_union_find_leads_are_the_smallest_members(pairs: list[tuple[int, int]]) -> None:
    sets = UnionFind()
    for left, right in pairs:
        sets.union(left, right)
    groups: list[set[int]] = []
    for left, right in pairs:
        touching = [g for g in groups if g & {left, right}]
        groups = [g for g in groups if not g & {left, right}] + [set().union({left, right}, *touching)]
    for group in groups:
        assert {sets.find(member) for member in group} == {min(group)}
