"""The store's contract, the same on a disk and on S3."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import threading
from pathlib import Path

import pytest

from resources.manifest import Manifest, check_file_name, check_name
from resources.store import (
    ArtifactDamaged,
    ArtifactMissing,
    ObjectDamaged,
    ObjectMissing,
    Store,
    StoreError,
    artifact_key,
)
from resources.store_local import LocalBackend
from resources.store_s3 import S3Backend

NOWHERE = "0" * 64


def publish(store: Store, name: str = "sources/a", body: bytes = b"hello", **options: object) -> Manifest:
    with store.writer(name, **options) as w:  # type: ignore[arg-type]
        w.add("data.txt", body)
    return w.manifest


def damage(store: Store, sha256: str, body: bytes) -> None:
    """Overwrite an object behind the store's back."""
    if isinstance(store.backend, LocalBackend):
        path = store.object_path(sha256)
        path.chmod(0o644)
        path.write_bytes(body)
    else:
        store.backend.replace(f"objects/{sha256[:2]}/{sha256}", body)


def remove(store: Store, sha256: str) -> None:
    assert store.backend.delete_object(sha256, float("inf"))


def test_objects_round_trip_from_every_kind_of_source(store: Store, tmp_path: Path) -> None:
    body = bytes(range(256)) * 9000
    path = tmp_path / "file"
    path.write_bytes(body)
    sources = [
        body,
        bytearray(body),
        memoryview(body),
        path,
        io.BytesIO(body),
        (body[i : i + 70000] for i in range(0, len(body), 70000)),
    ]
    for source in sources:
        info = store.put_object(source)
        assert (info.sha256, info.bytes) == (hashlib.sha256(body).hexdigest(), len(body))
    assert store.has_object(info.sha256) and not store.has_object(NOWHERE)
    assert store.read_object(info.sha256, verify=True) == body
    assert store.object_path(info.sha256).read_bytes() == body
    with store.open_object(info.sha256) as file:
        file.seek(1_000_000)
        assert file.read(300_000) == body[1_000_000:1_300_000]
        file.seek(-5, io.SEEK_END)
        assert file.read() == body[-5:] and file.read() == b""
        file.seek(7)
        assert file.tell() == 7 and file.read(1) == body[7:8]
    assert [entry.key for entry in store.backend.objects()] == [info.sha256]


def test_empty_object(store: Store) -> None:
    info = store.put_object(b"")
    assert info.bytes == 0 and store.read_object(info.sha256, verify=True) == b""


def test_text_is_no_source(store: Store) -> None:
    with pytest.raises(TypeError, match=r"Path\(\.\.\.\)"):
        store.put_object("name-of-a-file")  # type: ignore[arg-type]


def test_missing_object_is_named(store: Store) -> None:
    for read in (store.open_object, store.read_object, store.object_path):
        with pytest.raises(ObjectMissing, match=NOWHERE):
            read(NOWHERE)


def test_damaged_object_is_named(store: Store) -> None:
    info = store.put_object(b"right")
    damage(store, info.sha256, b"wrong")
    with pytest.raises(ObjectDamaged, match=info.sha256):
        store.read_object(info.sha256, verify=True)
    with pytest.raises(ObjectDamaged, match=info.sha256):
        store.open_object(info.sha256, verify=True)
    assert [p.kind for p in store.verify().problems] == ["damaged"]


def test_an_artifact_is_there_with_all_it_says(store: Store) -> None:
    raw = store.put_object(b"raw item")
    inputs = {"sources/b": "ab" * 8}
    with store.writer(
        "documents/a", inputs=inputs, parameters={"x": 1.5}, code_version="c1", run={"id": "r"}
    ) as w:
        w.add("table.parquet", b"rows")
        w.add("times.json", b"{}", volatile=True)
        w.reference(raw.sha256)
        w.figures["rows"] = 3
        with w.open("shards/000.tar") as file, tarfile.open(fileobj=file, mode="w|") as tar:
            member = tarfile.TarInfo("a")
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
        assert store.head("documents/a") is None
    m = w.manifest
    assert (
        store.head("documents/a")
        == store.get("documents/a", m.version)
        == store.cached("documents/a", m.key)
        == m
    )
    assert [(f.name, f.volatile) for f in m.files] == [
        ("references.txt", False),
        ("shards/000.tar", False),
        ("table.parquet", False),
        ("times.json", True),
    ]
    assert (m.inputs, m.parameters, m.code_version, m.run, m.figures) == (
        inputs,
        {"x": 1.5},
        "c1",
        {"id": "r"},
        {"rows": 3},
    )
    assert m.key == artifact_key("documents/a", inputs, {"x": 1.5}, "c1")
    assert m.uri == f"{store.uri}/artifacts/documents/a/{m.version}"
    assert list(store.references(m)) == [raw.sha256]
    assert store.read_file(m, "table.parquet") == b"rows" == store.file_path(m, "table.parquet").read_bytes()
    with store.open_file(m, "shards/000.tar") as file, tarfile.open(fileobj=file) as tar:
        assert tar.getnames() == ["a"]
    assert store.names() == ["documents/a"] == store.names("documents/") and store.names("sources/") == []
    assert m.bytes == sum(f.bytes for f in m.files)
    assert store.verify().problems == []
    with pytest.raises(ArtifactMissing, match=r"no file 'nope'.*table\.parquet"):
        store.read_file(m, "nope")


def test_version_depends_on_content_and_inputs_alone(store: Store) -> None:
    first = publish(store, parameters={"p": 1}, run={"id": 1})
    again = publish(store, parameters={"p": 2}, run={"id": 2})
    assert again == first, "the first one stands, found under both keys"
    assert store.cached("sources/a", artifact_key("sources/a", {}, {"p": 2}, "")) == first
    assert publish(store, body=b"other").version != first.version
    assert publish(store, inputs={"sources/b": "ab" * 8}).version != first.version
    assert publish(store, name="sources/c").version != first.version
    with store.writer("sources/a") as w:
        w.add("data.txt", b"hello")
        w.add("times", b"now", volatile=True)
    assert w.manifest == first


def test_versions_in_order_head_and_adopt(store: Store) -> None:
    made = [publish(store, body=b"%d" % i, parameters={"i": i}) for i in range(4)]
    assert store.versions("sources/a") == [m.version for m in made]
    assert store.head("sources/a") == made[-1]
    store.adopt(made[1])
    assert store.head("sources/a") == made[1]
    store.delete_artifact("sources/a", made[1].version)
    assert store.head("sources/a") is None, "nothing is promoted unchecked"
    assert store.get("sources/a", made[1].version) is None and store.names() == ["sources/a"]
    assert store.cached("sources/a", made[1].key) is None
    with pytest.raises(ArtifactMissing):
        store.adopt(made[1])
    with pytest.raises(ArtifactMissing):
        store.delete_artifact("sources/a", made[1].version)


def test_promotion_waits_and_holds(store: Store) -> None:
    first = publish(store)
    with store.writer("sources/a", promote=False) as w:
        w.add("data.txt", b"unchecked")
    assert store.head("sources/a") == first and store.cached("sources/a", w.key) == w.manifest
    store.hold(w.manifest, ["b", "a"])
    assert store.held("sources/a") == {"version": w.manifest.version, "checks": ["a", "b"]}
    store.delete_artifact("sources/a", w.manifest.version)
    assert store.held("sources/a") is None and store.head("sources/a") == first
    assert store.verify().problems == []


def test_a_name_may_begin_with_another(store: Store) -> None:
    publish(store, "checkpoints/a")
    publish(store, "checkpoints/a/tiny")
    publish(store, "checkpoints/ab")
    assert store.names() == ["checkpoints/a", "checkpoints/a/tiny", "checkpoints/ab"]
    assert len(store.versions("checkpoints/a")) == 1


def test_nothing_is_published_when_the_block_fails(store: Store) -> None:
    with pytest.raises(RuntimeError), store.writer("sources/a") as w:
        w.add("data.txt", b"hello")
        raise RuntimeError
    assert store.names() == [] and store.head("sources/a") is None
    with pytest.raises(StoreError, match="not published"):
        _ = w.manifest
    assert store.backend.leases(3600) == []


def test_a_file_left_by_an_exception_is_forgotten(store: Store) -> None:
    with store.writer("sources/a") as w:
        with pytest.raises(RuntimeError), w.open("broken.txt") as file:
            file.write(b"half")
            raise RuntimeError
        lost = w.open("lost.txt")
        lost.write(b"half")
        del lost
        w.add("data.txt", b"whole")
    assert [f.name for f in w.manifest.files] == ["data.txt"]


def test_missing_objects_hide_an_artifact_from_cached_and_a_new_run_heals_it(store: Store) -> None:
    m = publish(store)
    remove(store, m.file("data.txt").sha256)
    assert store.cached("sources/a", m.key) is None
    problems = store.verify().problems
    assert [(p.kind, p.subject) for p in problems] == [("missing", m.file("data.txt").sha256)]
    assert publish(store) == m
    assert store.cached("sources/a", m.key) == m and store.verify().problems == []


def test_a_reference_must_exist(store: Store) -> None:
    with pytest.raises(ObjectMissing, match=NOWHERE), store.writer("sources/a") as w:
        w.reference(NOWHERE)
    assert store.names() == []


def test_two_writers_of_one_version(store: Store) -> None:
    results: list[Manifest] = []
    barrier = threading.Barrier(4)

    def work(i: int) -> None:
        with store.writer("sources/a", run={"writer": i}) as w:
            w.add("data.txt", b"same")
            barrier.wait()
        results.append(w.manifest)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(m == results[0] for m in results)
    assert store.head("sources/a") == results[0] and store.verify().problems == []


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/..",
        "a/.b",
        "a b",
        "a\\b",
        "HEAD",
        "HELD",
        "a/keys",
        "a/" + "0" * 16,
        "é",
        "a\n",
    ],
)
def test_unsafe_artifact_names_are_refused(name: str, local_store: Store) -> None:
    with pytest.raises(ValueError, match="not allowed"):
        check_name(name)
    with pytest.raises(ValueError, match="not allowed"):
        local_store.writer(name)


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "../a", "a/../b", ".hidden", "a\\b", "manifest.json", "a\0", "a\n"]
)
def test_unsafe_file_names_are_refused(name: str, local_store: Store) -> None:
    with pytest.raises(ValueError, match="file name"):
        check_file_name(name)
    with local_store.writer("sources/a") as w, pytest.raises(ValueError, match="file name"):
        w.add(name, b"")


def test_clashing_files_are_refused(local_store: Store) -> None:
    with local_store.writer("sources/a") as w:
        w.add("a", b"")
        for name in ("a", "a/b"):
            with pytest.raises(ValueError, match="clashes"):
                w.add(name, b"")
        with pytest.raises(ValueError, match=r"w\.reference"):
            w.add("references.txt", b"")


def test_what_is_not_json_is_refused_before_anything_is_published(local_store: Store) -> None:
    with pytest.raises(ValueError, match="parameters is not plain JSON"):
        local_store.writer("sources/a", parameters={"x": float("nan")})
    with pytest.raises(ValueError, match="figures is not plain JSON"), local_store.writer("sources/a") as w:
        w.figures["x"] = object()
    with pytest.raises(ValueError, match="version of input"):
        local_store.writer("sources/a", inputs={"sources/b": "latest"})
    assert local_store.names() == []


@pytest.mark.parametrize(
    "uri", ["", "store", "/abs/path", "file://host/x", "file:relative", "s3:///x", "https://a/b"]
)
def test_other_uris_are_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="LUCA_STORE"):
        Store.open(uri)


def test_an_altered_manifest_is_named(local_store: Store) -> None:
    m = publish(local_store)
    path = local_store.backend.root / "artifacts" / "sources/a" / m.version / "manifest.json"  # type: ignore[attr-defined]
    body = path.read_bytes()
    path.chmod(0o644)
    for broken, why in (
        (body.replace(b"data.txt", b"date.txt"), "altered"),
        (body[:40], "unreadable"),
        (b"{}", "missing"),
    ):
        path.write_bytes(broken)
        with pytest.raises(ArtifactDamaged, match=why):
            local_store.get("sources/a", m.version)
        assert {p.kind for p in local_store.verify().problems} == {"manifest"}


def test_checkout(store: Store, tmp_path: Path) -> None:
    with store.writer("checkpoints/a") as w:
        w.add("config.json", b"{}")
        w.add("weights/1.bin", b"1")
    dest = store.checkout(w.manifest, tmp_path / "out")
    assert (dest / "config.json").read_bytes() == b"{}" and (dest / "weights/1.bin").read_bytes() == b"1"
    (dest / "config.json").write_bytes(b"mine")
    assert store.read_file(w.manifest, "config.json", verify=True) == b"{}"
    store.checkout(w.manifest, dest, only=["*.json"])
    assert (dest / "config.json").read_bytes() == b"{}"
    some = store.checkout(w.manifest, tmp_path / "some", only=["weights/*"], link=True)
    assert [p.name for p in some.rglob("*") if p.is_file()] == ["1.bin"]


def test_checkout_refuses_damage(local_store: Store, tmp_path: Path) -> None:
    m = publish(local_store)
    damage(local_store, m.file("data.txt").sha256, b"wrong")
    with pytest.raises(ObjectDamaged):
        local_store.checkout(m, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_folder_for_people(local_store: Store) -> None:
    m = publish(local_store)
    folder = Path(m.uri.removeprefix("file://"))
    path = folder / "data.txt"
    assert path.read_bytes() == b"hello" and path.samefile(local_store.file_path(m, "data.txt"))
    assert path.stat().st_mode & 0o777 == 0o444
    assert sorted(p.name for p in folder.iterdir()) == ["data.txt", "manifest.json"]
    path.unlink()
    assert [p.kind for p in local_store.verify().problems] == ["folder"]
    publish(local_store)
    assert path.samefile(local_store.file_path(m, "data.txt")) and local_store.verify().problems == []


def test_same_content_same_version_on_disk_and_on_s3(local_store: Store, s3_store: Store) -> None:
    for store in (local_store, s3_store):
        with store.writer("documents/a", inputs={"sources/a": "12" * 8}, parameters={"k": [1, "é"]}) as w:
            w.add("a.bin", bytes(3_000_000))
            w.reference(store.put_object(b"raw").sha256)
    a, b = local_store.head("documents/a"), s3_store.head("documents/a")
    assert a is not None and b is not None
    assert (a.version, a.key, a.files) == (b.version, b.key, b.files)


def test_large_objects_go_to_s3_in_parts(s3_store: Store) -> None:
    chunk = bytes(1 << 20)
    info = s3_store.put_object(chunk for _ in range(34))
    assert info.bytes == 34 << 20
    with s3_store.open_object(info.sha256) as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == info.sha256  # type: ignore[arg-type]


def test_s3_download_is_verified_and_cached(s3_store: Store) -> None:
    info = s3_store.put_object(b"right")
    damage(s3_store, info.sha256, b"wrong")
    with pytest.raises(ObjectDamaged):
        s3_store.object_path(info.sha256)
    assert isinstance(s3_store.backend, S3Backend)
    assert not [p for p in s3_store.backend.cache.rglob("*") if p.is_file()]


def test_s3_errors_name_the_mend(s3_store: Store, tmp_path: Path) -> None:
    assert isinstance(s3_store.backend, S3Backend)
    other = Store.open("s3://no-such-bucket/x", s3_client=s3_store.backend.client, cache=tmp_path)
    with pytest.raises(StoreError, match="create the bucket 'no-such-bucket'"):
        other.names()


def test_a_store_travels_to_worker_processes(local_store: Store) -> None:
    m = publish(local_store)
    assert pickle.loads(pickle.dumps(local_store)).head("sources/a") == m
