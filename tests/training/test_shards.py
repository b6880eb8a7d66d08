"""Shards: uniform tars that any WebDataset reader reads, and ours seeks in."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resources.manifest import Manifest
from resources.settings import PROJECT
from resources.store import Store
from training.shards import Layout, ShardReader, write_shards
from training.windows import Window, pack

LENGTH = 32


def windows(count: int, seed: int = 0) -> list[Window]:
    rng = np.random.default_rng(seed)
    documents = [(f"d{n}", rng.integers(1, 60_000, rng.integers(1, 90)).tolist()) for n in range(count)]
    return list(pack(documents, LENGTH, 4, pad=0))


def publish(store: Store, made: list[Window], layout: Layout, name: str = "tokens/shards") -> Manifest:
    with store.writer(name) as writer:
        count = write_shards(writer, ((f"text/{n % 2}", window) for n, window in enumerate(made)), layout)
        strata = {"windows": count, "length": layout.length, "dtype": layout.dtype.name}
        writer.add("strata.json", json.dumps(strata).encode())
    return writer.manifest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open((tmp_path / "store").as_uri())


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_windows_come_back_in_any_order(store, dtype):
    made = windows(900)
    manifest = publish(store, made, Layout(LENGTH, np.dtype(dtype), 2**14))
    reader = ShardReader(store, manifest)
    assert len(reader.shards) > 3
    order = np.random.default_rng(1).permutation(len(made))
    assert np.array_equal(reader.windows(order), np.stack([made[i].ids for i in order]))
    assert reader.windows([]).shape == (0, LENGTH)
    assert reader.index["length"].tolist() == [window.used for window in made]
    assert all(reader.spans(n) == made[n].spans for n in (0, 1, 200, len(made) - 1))
    with pytest.raises(IndexError, match=f"0 to {len(made) - 1}"):
        reader.windows([len(made)])
    reader.close()
    assert np.array_equal(reader.windows([3])[0], made[3].ids)


def test_shards_are_uniform_and_headers_cost_under_one_percent(store):
    layout = Layout(256, np.dtype(np.uint16), 2**20)
    rng = np.random.default_rng(0)
    made = [Window(rng.integers(1, 5000, 256), 256, ()) for _ in range(3 * layout.shard_rows + 7)]
    manifest = publish(store, made, layout)
    sizes = [file.bytes for file in manifest.files if file.name.endswith(".tar")]
    assert len(set(sizes[:-1])) == 1 and len(sizes) == 4
    assert 0.99 * 2**20 < sizes[0] <= 2**20
    assert sum(sizes[:3]) / (3 * layout.shard_rows * 512) < 1.01


def test_the_same_windows_give_the_same_version(tmp_path):
    made = windows(300)
    layout = Layout(LENGTH, np.dtype(np.uint16), 2**14)
    versions = {
        publish(Store.open((tmp_path / name).as_uri()), made, layout).version for name in ("one", "two")
    }
    assert len(versions) == 1


def test_the_offset_in_the_index_leads_straight_to_the_numbers(store):
    made = windows(400)
    manifest = publish(store, made, Layout(LENGTH, np.dtype(np.uint16), 2**14))
    index = ShardReader(store, manifest).index
    for number in (0, 57, 300):
        with store.open_file(manifest, index["shard"][number]) as file:
            file.seek(index["offset"][number])
            assert np.array_equal(np.frombuffer(file.read(2 * LENGTH), "<u2"), made[number].ids)


def test_an_empty_split_is_a_valid_artifact(store):
    reader = ShardReader(store, publish(store, [], Layout(LENGTH, np.dtype(np.uint16), 2**14)))
    assert len(reader) == 0 and reader.shards == []
    assert reader.windows([]).shape == (0, LENGTH)


def test_ids_that_do_not_fit_are_refused_and_nothing_is_published(store):
    bad = Window(np.full(LENGTH, 70_000), LENGTH, ())
    with pytest.raises(ValueError, match="65535"):
        publish(store, [bad], Layout(LENGTH, np.dtype(np.uint16), 2**14))
    assert store.head("tokens/shards") is None
    with pytest.raises(ValueError, match="shard_bytes"):
        Layout(100_000, np.dtype(np.uint16), 2**14)


@pytest.mark.slow
def test_webdataset_reads_the_same_windows(store, tmp_path):
    made = windows(500)
    manifest = publish(store, made, Layout(LENGTH, np.dtype(np.uint16), 2**14))
    store.checkout(manifest, tmp_path / "out")
    script = (
        "import sys, webdataset, numpy as np;"
        "found = [s['npy'] for s in webdataset.WebDataset(sys.argv[2:], shardshuffle=False).decode()];"
        "np.save(sys.argv[1], np.concatenate(found))"
    )
    tars = sorted(map(str, (tmp_path / "out" / "shards").glob("*.tar")))
    read = tmp_path / "read.npy"
    subprocess.run([sys.executable, "-c", script, str(read), *tars], cwd=PROJECT, check=True)
    assert np.array_equal(np.load(read), np.stack([window.ids for window in made]))
