from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from serving.keys import KeyRing, KeysError, KeyTable
from serving.limits import Limits


def table(ring: KeyRing) -> KeyTable:
    return KeyTable(ring.pepper(), ring.read())


def header(text: str) -> bytes:
    return f"Bearer {text}".encode()


def test_a_key_is_found_until_it_is_revoked(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path, {})
    text, key = ring.create("expert", Limits(10, 2, 1000))
    found = table(ring).find(header(text))
    assert found == key and found.limits.burst == 2
    assert table(ring).find(b"bearer  " + text.encode() + b" ") == key
    for wrong in (None, b"", text.encode(), header(text + "x"), header(""), b"Basic " + text.encode()):
        assert table(ring).find(wrong) is None
    assert ring.revoke("expert").revoked is not None
    assert table(ring).find(header(text)) is None
    with pytest.raises(KeysError, match="no live key"):
        ring.revoke("expert")
    assert ring.create("expert")[1].id != key.id


def test_the_file_holds_no_key_and_is_private(tmp_path: Path) -> None:
    text, _ = KeyRing(tmp_path, {}).create("a")
    for path in tmp_path.iterdir():
        assert text not in path.read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    assert (tmp_path / "pepper").stat().st_mode & 0o077 == 0


def test_another_pepper_knows_no_key(tmp_path: Path) -> None:
    text, _ = KeyRing(tmp_path, {}).create("a")
    other = KeyRing(tmp_path, {"LUCA_KEY_PEPPER": "p" * 40})
    assert table(other).find(header(text)) is None
    with pytest.raises(KeysError, match="at least 32"):
        KeyRing(tmp_path, {"LUCA_KEY_PEPPER": "short"}).pepper()


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "../x", "x" * 65])
def test_bad_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeysError, match="name"):
        KeyRing(tmp_path, {}).create(name)


def test_a_damaged_file_is_named_and_left(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    with pytest.raises(KeysError, match=r"keys\.json: not JSON"):
        KeyRing(tmp_path, {}).create("a")
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [{"id": "1"}]}))
    with pytest.raises(KeysError, match="not a key"):
        KeyRing(tmp_path, {}).read()
    assert (tmp_path / "keys.json").exists()


def _create(folder: Path, start: int) -> None:
    for number in range(start, start + 10):
        KeyRing(folder, {}).create(f"k{number}")


def test_two_processes_lose_no_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_create, args=(tmp_path, start)) for start in (0, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [w.exitcode for w in workers] == [0, 0]
    assert len({k.name for k in KeyRing(tmp_path, {}).read()}) == 20


def test_the_local_key_is_made_once_and_renewed_when_revoked(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path, {})
    first = ring.local()
    assert ring.local() == first
    ring.revoke("local")
    second = ring.local()
    assert second != first and table(ring).find(header(second)) is not None
