"""Dialogues as JSON Lines: ``{"messages": […]}``, or ``{"question", "answer", "options"?}``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from assets.documents.clean import clean_text
from assets.documents.parts import Part, RawItem, Rejection, Unreadable
from assets.documents.readers.text import plain_markdown

ROLES = ("system", "user", "assistant")
_FIGURE = re.compile(
    r"\[\[link\]\]|\bthe (?:figure|graph|diagram|table)\b|\bshown (?:above|below)\b", re.IGNORECASE
)
_MAX_LINE = 1_000_000


class BadDialogue(ValueError):
    """A line that is no dialogue: (reason, detail)."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def read_dialogues(item: RawItem) -> Iterator[Part | Rejection]:
    """A part a line; a bad line is set aside with its number, and never stops the rest."""
    if item.path.stat().st_size == 0:
        raise Unreadable("empty", "the file holds no byte")
    with item.path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield parse_dialogue(line)
            except BadDialogue as error:
                yield Rejection(f"line {number}", error.reason, error.detail)


def parse_dialogue(line: bytes) -> Part:
    """One line as a dialogue part; BadDialogue says what is wrong with it."""
    if len(line) > _MAX_LINE:
        raise BadDialogue("too_large", f"{len(line)} bytes in one line")
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadDialogue("bad_json", str(error)) from error
    if not isinstance(value, dict):
        raise BadDialogue("bad_dialogue", f"a JSON object is needed, this is {type(value).__name__}")
    if "messages" in value:
        messages = check_messages(value["messages"])
    elif "question" in value and "answer" in value:
        messages = question_messages(value)
    else:
        raise BadDialogue("bad_dialogue", f"neither messages nor question and answer: {sorted(value)[:8]}")
    quality: dict[str, Any] = {"reader": "dialogues", "turns": len(messages)}
    if isinstance(value.get("id"), str | int):
        quality["id"] = str(value["id"])
    return Part(
        messages=messages,
        title=_text(value, "title") or _text(value, "section"),
        language=_text(value, "language"),
        domain=_text(value, "domain"),
        dimension=_text(value, "dimension"),
        quality=quality,
    )


def check_messages(value: Any) -> tuple[dict[str, str], ...]:
    """Cleaned messages: an optional system message, then user and assistant in turn, the assistant last."""
    if not isinstance(value, list) or not value:
        raise BadDialogue("bad_dialogue", "messages must be a list that is not empty")
    messages = []
    for index, message in enumerate(value):
        role = message.get("role") if isinstance(message, dict) else None
        content = message.get("content") if isinstance(message, dict) else None
        if role not in ROLES or not isinstance(content, str):
            raise BadDialogue(
                "bad_dialogue", f"message {index}: role of {ROLES} and content as text are needed"
            )
        content, _ = clean_text(content)
        if not content:
            raise BadDialogue("bad_dialogue", f"message {index} of {role} is empty")
        messages.append({"role": role, "content": content})
    turns = [m["role"] for m in messages if m["role"] != "system"]
    if any(m["role"] == "system" for m in messages[1:]):
        raise BadDialogue("bad_dialogue", "a system message stands only at the start")
    if turns != ["user", "assistant"] * (len(turns) // 2) or not turns:
        raise BadDialogue(
            "bad_dialogue", f"user and assistant must take turns, the assistant last: {turns[:8]}"
        )
    return tuple(messages)


def question_messages(value: Mapping[str, Any]) -> tuple[dict[str, str], ...]:
    """Question and answer as two messages; options are listed, and the answer repeats the right one."""
    question, answer, options = value["question"], value["answer"], value.get("options")
    if not isinstance(question, str) or not isinstance(answer, str):
        raise BadDialogue("bad_dialogue", "question and answer must be text")
    if _FIGURE.search(question):
        raise BadDialogue("needs_figure", "the question points to a figure that is not part of it")
    question, answer = plain_markdown(question), plain_markdown(answer)
    if options is not None:
        if not isinstance(options, list) or not 2 <= len(options) <= 26:
            raise BadDialogue("bad_dialogue", "options must be a list of 2 to 26")
        letters = [chr(ord("A") + i) for i in range(len(options))]
        right = value.get("answer_index")
        if not isinstance(right, int):
            right = letters.index(answer.strip()) if answer.strip() in letters else -1
        if not 0 <= right < len(options):
            raise BadDialogue("bad_dialogue", f"the answer {answer!r} names none of the options")
        listed = [f"{letter}. {plain_markdown(str(o))}" for letter, o in zip(letters, options, strict=True)]
        question = "\n".join([question, *listed])
        answer = listed[right]
    return check_messages([{"role": "user", "content": question}, {"role": "assistant", "content": answer}])


def _text(value: Mapping[str, Any], name: str) -> str | None:
    found = value.get(name)
    return found if isinstance(found, str) and found else None
