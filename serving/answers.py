"""Answers by id: what was said, by which release, to which key, so that it can be traced and judged.

On disk, two bounded JSON Lines files take turns (`answers.jsonl`, `answers.1.jsonl`); they hold the answer,
never the question, no address, and the key's id in place of the key. Questions stay in memory
and reach the disk only with a judgement that their author sends (`feedback.py`).
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from serving.files import append_lines, read_lines

QUESTION_LIMIT = 4_000


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `created` in seconds since 1970; `question` is empty for answers of an earlier process."""

    id: str
    key: str
    release: str
    model: str
    created: int
    text: str
    finish_reason: str
    question: str = ""


class AnswerBook:
    """The last `kept` answers in memory, and at most `limit` bytes of them on disk.

    `add` only queues; `flush` writes, in one append (the gateway calls it in a thread, about once a second,
    and when it ends). A kill loses at most what was not flushed.
    """

    def __init__(self, folder: Path, *, kept: int, limit: int) -> None:
        self._file = folder / "answers.jsonl"
        self._older = folder / "answers.1.jsonl"
        self._kept = kept
        self._limit = limit
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._queue: list[Answer] = []
        folder.mkdir(parents=True, exist_ok=True)
        for path in (self._older, self._file):
            for line in read_lines(path):
                try:
                    self._remember(Answer(**line))
                except TypeError:
                    continue

    def add(self, answer: Answer) -> None:
        """Remember an answer, and queue it for the disk."""
        self._remember(answer)
        # While the disk is full, no more wait for it than are remembered.
        if len(self._queue) < self._kept:
            self._queue.append(answer)

    def get(self, answer_id: str, key: str) -> Answer | None:
        """The answer of this id, if it was given to this key."""
        answer = self._answers.get(answer_id)
        return answer if answer is not None and answer.key == key else None

    def flush(self) -> None:
        """Write what is queued. OSError leaves it queued."""
        count = len(self._queue)
        if not count:
            return
        lines = b"".join(_line(answer) for answer in self._queue[:count])
        if self._file.exists() and self._file.stat().st_size + len(lines) > self._limit // 2:
            self._file.replace(self._older)
        append_lines(self._file, lines)
        del self._queue[:count]

    def _remember(self, answer: Answer) -> None:
        self._answers[answer.id] = answer
        if len(self._answers) > self._kept:
            self._answers.popitem(last=False)


def _line(answer: Answer) -> bytes:
    record = {
        "id": answer.id,
        "key": answer.key,
        "release": answer.release,
        "model": answer.model,
        "created": answer.created,
        "text": answer.text,
        "finish_reason": answer.finish_reason,
    }
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
