"""The stream: a pure function of position, balanced at every prefix, every epoch a permutation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.stream import MOST_POSITIONS, Stream


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=9))
    weights = draw(st.lists(st.floats(0.001, 1), min_size=len(sizes), max_size=len(sizes)))
    first, strata = 0, {}
    for number, size in enumerate(sizes):
        strata[f"text/{number}"] = range(first, first + size)
        first += size
    return Stream(strata, dict(zip(strata, weights, strict=True)), draw(st.integers(0, 2**40)))


@settings(max_examples=60, deadline=None)
@given(streams())
def test_every_prefix_holds_its_share_within_the_depth_of_the_tree(stream):
    count = 4000
    strata = stream.windows_at(0, count).strata
    positions = np.arange(1, count + 1)
    bound = max(1, math.ceil(math.log2(len(stream.strata))))
    assert bound == stream.depth
    for number, name in enumerate(stream.strata):
        deviation = np.abs(np.cumsum(strata == number) - stream.weights[name] * positions)
        assert deviation.max() < bound + 1e-5  # 32-bit fixed point over 4,000 positions


@settings(max_examples=60, deadline=None)
@given(streams())
def test_each_epoch_of_a_stratum_visits_each_window_once(stream):
    places = stream.windows_at(0, 4000)
    for number in range(len(stream.strata)):
        windows = places.windows[places.strata == number]
        epochs = places.epochs[places.strata == number]
        size = int(stream._counts[number])
        assert (epochs == np.arange(len(windows)) // size).all()
        whole = windows[: len(windows) // size * size].reshape(-1, size)
        assert (np.sort(whole, axis=1) == stream._windows[number]).all()


@settings(max_examples=40, deadline=None)
@given(streams(), st.integers(0, MOST_POSITIONS - 300))
def test_any_position_is_reached_alone_or_in_a_run(stream, start):
    run = stream.windows_at(start, 200)
    for offset in (0, 1, 57, 199):
        place = stream.window_at(start + offset)
        assert place.window == run.windows[offset]
        assert place.stratum == stream.strata[run.strata[offset]]
        assert place.epoch == run.epochs[offset]
    halves = [stream.windows_at(start, 80), stream.windows_at(start + 80, 120)]
    assert np.array_equal(np.concatenate([half.windows for half in halves]), run.windows)


def test_epochs_and_seeds_give_different_orders_and_the_same_seed_the_same():
    def order(seed: int, count: int = 3000) -> np.ndarray:
        return Stream({"text/biology": range(1000)}, {"text/biology": 1.0}, seed).windows_at(0, count).windows

    first = order(1)
    assert np.array_equal(first, order(1))
    for other in (first[1000:2000], order(2)[:1000]):
        assert (first[:1000] == other).mean() < 0.02
    # No trace of the windows' order is left: neighbours are as far apart as chance would have them.
    assert abs(np.abs(np.diff(first[:1000])).mean() - 1000 / 3) < 30


def test_every_permutation_of_a_tiny_stratum_occurs():
    stream = Stream({"a/b": range(3)}, {"a/b": 1}, 5)
    epochs = stream.windows_at(0, 3 * 600).windows.reshape(-1, 3)
    found, counts = np.unique(epochs, axis=0, return_counts=True)
    assert len(found) == 6
    assert counts.min() > 50


def test_what_is_drawn_is_pinned():
    """A change of these numbers would change every training that resumes: make it on purpose only."""
    stream = Stream(
        {"dna/biology": range(5), "text/biology": range(5, 40)}, {"dna/biology": 1, "text/biology": 3}, 9
    )
    assert stream.windows_at(0, 12).windows.tolist() == [2, 36, 31, 17, 4, 15, 26, 30, 1, 13, 6, 39]
    assert stream.fingerprint == "ee6050a0d0506d74"


def test_the_fingerprint_changes_with_everything_that_matters():
    strata, weights = {"a/b": [1, 2, 3], "c/d": [4]}, {"a/b": 0.5, "c/d": 0.5}
    prints = {
        Stream(strata, weights, 0).fingerprint,
        Stream(strata, weights, 1).fingerprint,
        Stream(strata, {"a/b": 0.4, "c/d": 0.6}, 0).fingerprint,
        Stream({**strata, "c/d": [5]}, weights, 0).fingerprint,
    }
    assert len(prints) == 4
    assert Stream(strata, {"a/b": 2, "c/d": 2}, 0).fingerprint in prints


def test_from_an_artifact_pretraining_leaves_dialogues_out():
    index = {
        "window": np.arange(6),
        "stratum": np.array(
            ["dialogue/biology", "text/biology", "text/biology", "dna/biology"] + ["dialogue/alife"] * 2
        ),
    }
    weights = {"text/biology": 0.5, "dna/biology": 0.2, "dialogue/biology": 0.3, "image/biology": 0.1}
    documents = Stream.from_artifact(index, weights, 0)
    assert documents.strata == ("dna/biology", "text/biology")
    assert documents.weights["text/biology"] == pytest.approx(5 / 7)
    dialogues = Stream.from_artifact(index, weights, 0, kinds=("dialogue",))
    assert dialogues.strata == ("dialogue/biology",)


def test_bad_weights_and_positions_are_named():
    with pytest.raises(ValueError, match="text/x has weight"):
        Stream({}, {"text/x": 1.0}, 0)
    with pytest.raises(ValueError, match="weight of text/x"):
        Stream({"text/x": [1]}, {"text/x": float("nan")}, 0)
    with pytest.raises(ValueError, match="no stratum"):
        Stream({"text/x": [1]}, {"text/x": 0.0}, 0)
    stream = Stream({"text/x": [1]}, {"text/x": 1.0}, 0)
    with pytest.raises(ValueError, match="outside"):
        stream.window_at(-1)
    with pytest.raises(ValueError, match="outside"):
        stream.windows_at(MOST_POSITIONS - 1, 2)
