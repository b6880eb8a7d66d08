"""Answers and feedback on disk: whole lines, bounded, whatever was torn before."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from serving.answers import Answer, AnswerBook
from serving.errors import ApiError
from serving.feedback import FeedbackLog
from serving.files import append_lines, read_lines


def answer(number: int, text: str = "x" * 100) -> Answer:
    return Answer(f"a{number}", "key", "release", "model", number, text, "stop", "question")


def test_answers_come_back_after_a_kill_without_their_questions(tmp_path: Path) -> None:
    book = AnswerBook(tmp_path, kept=10, limit=10_000)
    book.add(answer(1, "caf\u00e9 \ud800"))
    book.flush()
    with (tmp_path / "answers.jsonl").open("ab") as file:
        file.write(b'{"id": "torn')
    book.add(answer(2))
    book.flush()
    again = AnswerBook(tmp_path, kept=10, limit=10_000)
    first, second = again.get("a1", "key"), again.get("a2", "key")
    assert first is not None and first.text == "caf\u00e9 ?" and first.question == ""
    assert second is not None
    assert again.get("a1", "another") is None
    assert b"question" not in (tmp_path / "answers.jsonl").read_bytes()


def test_answers_are_bounded_in_memory_and_on_disk(tmp_path: Path) -> None:
    book = AnswerBook(tmp_path, kept=5, limit=4_000)
    for number in range(200):
        book.add(answer(number))
        book.flush()
        assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 4_000
    assert book.get("a194", "key") is None and book.get("a195", "key") is not None
    assert AnswerBook(tmp_path, kept=5, limit=4_000).get("a199", "key") is not None


def test_a_full_feedback_buffer_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path, limit=1_000)
    with pytest.raises(ApiError, match="full") as refused:
        for number in range(100):
            log.append(answer(number), "up", "good")
    assert refused.value.status == 503
    assert [r["answer_id"] for r in read_lines(log.path)] == [
        f"a{i}" for i in range(len(list(read_lines(log.path))))
    ]
    assert 0 < log.path.stat().st_size <= 1_000


def _append(folder: Path, name: str) -> None:
    log = FeedbackLog(folder, limit=10**7)
    for number in range(100):
        log.append(answer(number, name * 2_000), "up", "")


def test_two_processes_tear_no_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append, args=(tmp_path, name)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    lines = (tmp_path / "feedback.jsonl").read_text().splitlines()
    assert len(lines) == 200
    assert {len(json.loads(line)["answer"]) for line in lines} == {2_000}


def test_a_torn_line_spoils_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    append_lines(path, b'{"n": 1}\n{"n": 2')
    append_lines(path, b'{"n": 3}\n')
    assert [r["n"] for r in read_lines(path)] == [1, 3]


def test_a_full_disk_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, lines: bytes) -> None:
        raise OSError(28, "No space left on device")

    book = AnswerBook(tmp_path, kept=5, limit=10_000)
    with monkeypatch.context() as patch:
        patch.setattr("serving.answers.append_lines", full)
        for number in range(50):
            book.add(answer(number))
            with pytest.raises(OSError, match="No space"):
                book.flush()
    assert book.get("a49", "key") is not None
    book.flush()
    assert [line["id"] for line in read_lines(tmp_path / "answers.jsonl")] == [f"a{n}" for n in range(5)]
