"""Judgements of answers: append-only JSON Lines, a line at a time, bounded in size.

The buffer is a poisoning surface (whoever fills it steers the next mixture): so a key, an answer that was
really given to that key, one of three ratings, and bounded text; what becomes of it is decided downstream.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.answers import Answer
from serving.errors import ApiError, bad_request
from serving.files import append_lines, locked

RATINGS = ("up", "down", "none")


def parse_feedback(body: Mapping[str, Any], text_limit: int) -> tuple[str, str, str]:
    """(answer id, rating, text) of a feedback request; ApiError 400 naming the field."""
    if unknown := body.keys() - {"id", "rating", "text"}:
        name = min(unknown)
        raise bad_request(
            f"{name}: not supported here; give id, rating and text.", name, "unsupported_parameter"
        )
    answer_id, rating, text = body.get("id"), body.get("rating", "none"), body.get("text", "")
    if not isinstance(answer_id, str) or not answer_id:
        raise bad_request("id: the answer's id, as it was given.", "id")
    if rating not in RATINGS:
        raise bad_request(f"rating: must be one of {', '.join(RATINGS)}.", "rating")
    if not isinstance(text, str) or len(text) > text_limit:
        raise bad_request(f"text: at most {text_limit} characters.", "text")
    text = text.encode("utf-8", "replace").decode().strip()
    if rating == "none" and not text:
        raise bad_request("rating or text: at least one of them.", "rating")
    return answer_id, rating, text


class FeedbackLog:
    """The file of judgements. Several processes may append: a lock keeps size and lines whole."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.path = folder / "feedback.jsonl"
        self._lock = folder / "feedback.lock"
        self._limit = limit

    def append(self, answer: Answer, rating: str, text: str) -> None:
        """Write one judgement; ApiError 503 if the file is full (it is never overwritten)."""
        record = {
            "answer_id": answer.id,
            "release": answer.release,
            "model": answer.model,
            "key": answer.key,
            "rating": rating,
            "text": text,
            "question": answer.question,
            "answer": answer.text,
            "received_at": int(time.time()),
        }
        line = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with locked(self._lock):
            size = self.path.stat().st_size if self.path.exists() else 0
            if size + len(line) > self._limit:
                raise ApiError(
                    503,
                    "The feedback buffer is full; its operator must collect it.",
                    code="feedback_full",
                    retry_after=3600,
                )
            append_lines(self.path, line)
