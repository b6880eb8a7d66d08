"""Faults and races: whoever dies wherever, and whatever the order, a reader sees a whole artifact or none."""

from __future__ import annotations

import gc as garbage
import hashlib
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.store import Manifest, Store
from tests.resources.effects import GatedClient, interleave, killed_at
from tests.seaweed import Seaweed

PROJECT = Path(__file__).resolve().parents[2]
NAME = "documents/a"
FILES = {"table.parquet": b"table " * 1000, "deep/er/shard.tar": b"shard " * 1000}


@pytest.fixture(autouse=True, scope="module")
def without_flushing() -> Iterator[None]:
    """No fsync in this process: it guards against a power cut, which no test here can show, and is most of
    the time. The processes that are really killed below flush."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


def write(store: Store, salt: bytes = b"", raw: bytes = b"raw") -> Manifest:
    with store.writer(NAME, parameters={"salt": salt.decode()}) as w:
        for name, body in FILES.items():
            w.add(name, body + salt)
        with w.open("streamed.bin") as file:
            file.write(b"one" + salt)
            file.write(b"two")
        w.add("when.txt", os.urandom(8), volatile=True)
        w.reference(store.put_object(raw).sha256)
    return w.manifest


def assert_whole(store: Store) -> None:
    """All that a reader can reach is there, to the last byte."""
    for name in store.names():
        for version in store.versions(name):
            manifest = store.get(name, version)
            if manifest is None:
                continue  # removed since it was listed
            for entry in manifest.files:
                assert len(store.read_object(entry.sha256, verify=True)) == entry.bytes
            for sha256 in store.references(manifest):
                store.read_object(sha256, verify=True)


def problems(store: Store, deep: bool = True) -> list[str]:
    return [f"{p.kind} {p.subject}: {p.detail}" for p in store.verify(deep=deep).problems]


@contextmanager
def fresh() -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        yield Store.open((Path(folder) / "store").as_uri())


def root(store: Store) -> str:
    return store.uri.removeprefix("file://")


def kill_everywhere(
    store_of: Callable[[int], Store], reader_of: Callable[[Store], Store], prefix: str
) -> int:
    """Kill a writer before its first effect, its second, … until one run ends; return how many there are."""
    for count in itertools.count():
        store = store_of(count)
        reader = reader_of(store)
        before = write(reader)
        seen: list[Manifest] = []
        died = killed_at(
            count, lambda store=store, seen=seen: seen.append(write(store, b"new")), prefix or root(store)
        )  # type: ignore[misc]
        garbage.collect(1)  # a dead process holds no locks
        head = reader.head(NAME)
        assert head is not None and (head == before or head.files != before.files)
        assert_whole(reader)
        assert problems(reader, deep=False) == []
        after = write(reader, b"new")
        assert_whole(reader)
        assert reader.head(NAME) == after and problems(reader, deep=False) == []
        assert died or seen == [after]
        if not died:
            return count
    raise AssertionError


def test_a_writer_killed_before_any_effect_on_disk() -> None:
    with tempfile.TemporaryDirectory() as folder:
        count = kill_everywhere(lambda n: Store.open((Path(folder) / str(n)).as_uri()), lambda s: s, "")
        assert count > 40
        for n in range(0, count, 3):
            store = Store.open((Path(folder) / str(n)).as_uri())
            time.sleep(0.02)
            store.gc(grace_seconds=0)
            assert problems(store) == [] and len(store.versions(NAME)) == 2
            staging = Path(root(store)) / "staging"
            assert [p.name for p in staging.iterdir()] == ["lock"], "gc leaves nothing of the dead"


def test_a_writer_killed_before_any_request_on_s3(s3_server: Seaweed, tmp_path: Path) -> None:
    client = s3_server.client()
    run = uuid.uuid4().hex

    def store_of(count: int) -> Store:
        return Store.open(f"s3://luca/{run}/{count}", s3_client=GatedClient(client), cache=tmp_path)

    def reader_of(store: Store) -> Store:
        return Store.open(store.uri, s3_client=client, cache=tmp_path)

    assert kill_everywhere(store_of, reader_of, "s3") > 15


schedules = st.lists(st.integers(0, 2), max_size=120)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(schedule=schedules, same=st.booleans())
def test_any_interleaving_of_two_writers_on_disk(schedule: list[int], same: bool) -> None:
    with fresh() as store:
        made: list[Manifest] = []
        works = [
            lambda: made.append(write(store, b"a")),
            lambda: made.append(write(store, b"a" if same else b"b")),
        ]
        errors = interleave(works, schedule, root(store), lambda: assert_whole(store))
        assert errors == [None, None]
        assert len(store.versions(NAME)) == (1 if same else 2) and store.head(NAME) in made
        assert not same or made[0] == made[1]
        assert problems(store) == []


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(schedule=schedules, again=st.booleans())
def test_gc_never_robs_a_writer_on_disk(schedule: list[int], again: bool) -> None:
    """One actor cleans with no grace at all, while two build upon objects that an earlier, dead run left."""
    with fresh() as store:
        old = write(store, b"old")
        write(store, b"head")
        for body in FILES.values():
            store.put_object(body + b"a")
        store.put_object(b"orphan")
        for entry in store.backend.objects():
            os.utime(store.object_path(entry.key), (1, 1))
        made: list[Manifest] = []
        works = [
            lambda: made.append(write(store, b"old" if again else b"a")),
            lambda: made.append(write(store, b"a")),
            lambda: store.gc(keep=1, grace_seconds=0) and None,
        ]
        errors = interleave(works, schedule, root(store), lambda: None)
        assert errors == [None, None, None]
        assert problems(store) == []
        versions = store.versions(NAME)
        assert all(m.version in versions for m in made) or store.head(NAME) in made
        if again:
            assert old.version in versions or store.head(NAME) == made[-1]
        assert not store.has_object(_sha256(b"orphan"))


def test_gc_waits_for_who_publishes_and_looks_again(local_store: Store) -> None:
    """Between gc's look at an object and its removal, no writer can take the object anew."""
    sha256 = local_store.put_object(b"orphan").sha256
    os.utime(local_store.object_path(sha256), (1, 1))
    removed: list[bool] = []
    sweep = threading.Thread(target=lambda: removed.append(local_store.backend.delete_object(sha256, 1000.0)))
    with local_store.backend.guard():
        sweep.start()
        sweep.join(0.2)
        assert sweep.is_alive() and local_store.has_object(sha256)
        local_store.backend.sizes([sha256], touch=True)
    sweep.join(10)
    assert removed == [False] and local_store.has_object(sha256)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(schedule=st.lists(st.integers(0, 1), max_size=80), same=st.booleans())
def test_any_interleaving_of_two_writers_on_s3(s3_server: Seaweed, schedule: list[int], same: bool) -> None:
    client = s3_server.client()
    uri = f"s3://luca/{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as cache:
        stores = [Store.open(uri, s3_client=GatedClient(client), cache=Path(cache)) for _ in range(2)]
        reader = Store.open(uri, s3_client=client, cache=Path(cache))
        made: list[Manifest] = []
        works = [
            lambda: made.append(write(stores[0], b"a")),
            lambda: made.append(write(stores[1], b"a" if same else b"b")),
        ]
        steps = itertools.count()
        errors = interleave(
            works, schedule, "s3", lambda: assert_whole(reader) if next(steps) % 8 == 0 else None
        )
        assert errors == [None, None]
        assert len(reader.versions(NAME)) == (1 if same else 2) and reader.head(NAME) in made
        assert not same or made[0] == made[1]
        assert problems(reader) == []


LOOP = """
import os, sys
from resources.store import Store
store = Store.open(sys.argv[1])
print("ready", flush=True)
for i in range(10**9):
    with store.writer("documents/a", parameters={"i": i}) as w:
        for j in range(4):
            w.add(f"{j}.bin", b"%d-%d-" % (i, j) * 50_000)
        with w.open("big.bin") as f:
            for _ in range(20):
                f.write(os.urandom(100_000))
        w.reference(store.put_object(b"raw %d" % i).sha256)
"""


def test_kill_9_of_a_real_writer(local_store: Store) -> None:
    chance = random.Random(7)
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", LOOP, local_store.uri], cwd=PROJECT, stdout=subprocess.PIPE
        )
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0.01, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert_whole(local_store)
        assert problems(local_store) == []
    write(local_store)
    time.sleep(0.05)
    local_store.gc(keep=1, grace_seconds=0)
    assert [p.name for p in (Path(root(local_store)) / "staging").iterdir()] == ["lock"]
    report = local_store.gc(grace_seconds=0)
    assert report.objects == 0 and report.leftovers == 0 and problems(local_store) == []
    assert len(local_store.versions(NAME)) == 1


def test_a_living_writer_in_another_process_is_not_robbed(local_store: Store) -> None:
    code = (
        "import sys\nfrom resources.store import Store\nstore = Store.open(sys.argv[1])\n"
        "with store.writer('documents/a') as w:\n"
        "    w.add('a', b'a'); f = w.open('b'); f.write(b'b'); w.reference(store.put_object(b'raw').sha256)\n"
        "    print('half', flush=True); sys.stdin.readline(); f.close()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, local_store.uri],
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"half\n"
    for entry in local_store.backend.objects():
        assert entry.modified > 0
    time.sleep(0.05)
    report = local_store.gc(grace_seconds=0)
    assert report.writers == 1 and report.objects == 0 and report.leftovers == 0
    process.communicate(b"\n", timeout=30)
    assert process.returncode == 0
    manifest = local_store.head("documents/a")
    assert manifest is not None and [f.name for f in manifest.files] == ["a", "b", "references.txt"]
    assert problems(local_store) == []


@pytest.mark.parametrize("dry_run", [True, False])
def test_gc_removes_what_nothing_needs(store: Store, dry_run: bool) -> None:
    old, new = write(store, b"1"), write(store, b"2")
    built = []
    for salt in (b"x", b"y"):
        with store.writer("mixture/plan", inputs={NAME: old.version}) as w:
            w.add("plan", salt)
        built.append(w.manifest)
    orphan = store.put_object(b"orphan").sha256
    with pytest.raises(RuntimeError), store.writer("sources/failed") as w:
        lost = w.add("a", b"lost").sha256
        raise RuntimeError
    time.sleep(1.1)
    assert store.gc(dry_run=dry_run).objects == 0, "all is younger than the grace"
    report = store.gc(grace_seconds=0, dry_run=dry_run)
    assert report.objects == 2 and report.bytes == 10 and report.versions == []
    assert store.has_object(orphan) is dry_run and store.has_object(lost) is dry_run
    assert len(store.versions(NAME)) == 2

    report = store.gc(keep=1, grace_seconds=0, dry_run=dry_run)
    assert report.versions == [f"mixture/plan@{built[0].version}"], "what the kept one was built from stays"
    assert len(store.versions(NAME)) == 2
    store.delete_artifact("mixture/plan", built[1].version)
    if not dry_run:
        report = store.gc(keep=1, grace_seconds=0)
        assert report.versions == [f"{NAME}@{old.version}"] and store.versions(NAME) == [new.version]
        assert store.cached(NAME, old.key) is None and store.backend.keys(NAME) == [new.key]
    assert problems(store) == []


def test_gc_refuses_when_it_cannot_know(store: Store) -> None:
    manifest = write(store)
    store.backend.delete_object(manifest.file("references.txt").sha256, float("inf"))
    orphan = store.put_object(b"orphan").sha256
    time.sleep(1.1)
    with pytest.raises(Exception, match=r"references\.txt of documents/a@.* nothing was removed"):
        store.gc(grace_seconds=0)
    assert store.has_object(orphan)


def test_gc_drops_the_dead_on_s3(s3_store: Store, s3_server: Seaweed) -> None:
    write(s3_store)
    dead = s3_store.writer("sources/dead")
    dead.__enter__()
    dead.add("a", b"dead")
    prefix = s3_store.uri.removeprefix("s3://luca/")
    s3_server.client().create_multipart_upload(Bucket="luca", Key=f"{prefix}/objects/ab/half")
    time.sleep(1.1)
    report = s3_store.gc(grace_seconds=0)
    assert report.writers == 1 and report.objects == 0, "for all that S3 knows, it lives"
    report = s3_store.gc(grace_seconds=0, lease_seconds=0)
    assert report.writers == 0 and report.objects == 1 and report.leftovers == 2
    assert s3_store.gc(grace_seconds=0).leftovers == 0 and problems(s3_store) == []
