"""The sample's texts: rows of ``Item`` and their bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from deploy.local.synthesis import ATTRIBUTION, CC0, Made, pages

WRITING = Path(__file__).resolve().parent.parent / "writing"
TEXT = "text/plain; charset=utf-8"
FORMS = {"txt": TEXT, "md": "text/markdown; charset=utf-8", "html": "text/html; charset=utf-8"}


def written(name: str) -> Any:
    with (WRITING / f"{name}.yaml").open(encoding="utf-8") as file:
        return yaml.safe_load(file)


def plain(title: str, text: str) -> bytes:
    return (title + "\n\n" + "\n\n".join(pages.paragraphs(text)) + "\n").encode()


def essays() -> Iterator[Made]:
    """The OAI set ``essays``: full texts that dc:identifier leads to, and bare abstracts."""
    for entry in written("essays"):
        language = entry.get("language", "en")
        form = "html" if language in ("en", "ar") else "txt"
        row = {
            "id": f"oai:sample.luca.test:essays/{entry['id']}",
            "protocol": "oai_pmh",
            "set": "essays",
            "path": f"essays/{entry['id']}.{form}",
            "media_type": FORMS[form],
            "title": entry["title"],
            "creator": "LUCA contributors",
            "description": pages.paragraphs(entry["text"])[0][:300],
            "licence": entry["licence"],
            "language": language,
            "region": entry.get("region", "global"),
            "tradition": entry["tradition"],
            "domain": "philosophy",
            "modality": "text",
            "dimension": entry["dimension"],
        }
        if entry.get("deleted"):
            yield row | {"path": None, "deleted": True}, None
        elif form == "html":
            yield row, pages.html(entry["title"], entry["text"], language, framed=False)
        else:
            yield row, plain(entry["title"], entry["text"])
    for entry in written("troublemakers")["abstracts"]:
        yield (
            {
                "id": f"oai:sample.luca.test:abstracts/{entry['id']}",
                "protocol": "oai_pmh",
                "set": "essays:abstracts",
                "title": entry["title"],
                "creator": "LUCA contributors",
                "description": entry["text"].strip(),
                "licence": entry["licence"],
                "language": entry["language"],
                "tradition": "western",
                "domain": "philosophy",
                "modality": "text",
            },
            None,
        )


def note(entry: dict[str, Any], form: str, **more: Any) -> dict[str, Any]:
    return {
        "id": entry["id"],
        "protocol": "web",
        "set": "notes",
        "path": f"notes/{entry['id']}.{form}",
        "media_type": FORMS.get(form, "application/pdf"),
        "title": entry["title"],
        "licence": entry.get("licence", "CC-BY-4.0"),
        "attribution": ATTRIBUTION,
        "language": entry.get("language", "en"),
        "region": entry.get("region", "global"),
        "domain": entry.get("domain", "biology"),
        "modality": "text",
        "dimension": entry.get("dimension", "factual"),
    } | more


def notes() -> Iterator[Made]:
    """The web list ``notes``: texts in three forms, two PDFs."""
    entries = written("notes")
    for entry in entries:
        form = entry["form"]
        if form == "html":
            yield (
                note(entry, form),
                pages.html(entry["title"], entry["text"], entry.get("language", "en"), framed=True),
            )
        elif form == "md":
            body = "\n\n".join(pages.paragraphs(entry["text"]))
            yield note(entry, form), f"# {entry['title']}\n\n{body}\n".encode()
        else:
            yield note(entry, form), plain(entry["title"], entry["text"])
    hard = written("troublemakers")
    yield note(hard["born_digital"], "pdf"), pages.text_pdf(hard["born_digital"]["lines"])
    yield note(hard["scan"], "pdf"), pages.scanned_pdf(hard["scan"]["lines"])


def hard_notes() -> Iterator[Made]:
    """The troublemakers of the list ``notes``."""
    hard = written("troublemakers")
    text = hard["mojibake"]
    broken = plain(text["title"], text["text"]).decode().encode().decode("cp1252").encode()
    yield note(text, "txt", language="fr"), broken
    text = hard["invalid_utf8"]
    yield note(text, "txt", language="de"), plain(text["title"], text["text"]).decode().encode("latin-1")
    notes_by_id = {entry["id"]: entry for entry in written("notes")}
    copied = notes_by_id["drake"]
    yield (
        note({"id": "drake-copy", "title": copied["title"]}, "txt", domain="astrobiology"),
        plain(copied["title"], copied["text"]),
    )
    essay = next(entry for entry in written("essays") if entry["id"] == "ship-and-body")
    edited = (
        essay["text"]
        .replace("in the course of some years", "within a few years")
        .replace("a harbour clerk may decide", "a clerk of the harbour may decide")
    )
    near = {"id": "ship-near-copy", "title": "The river, the ship, and the body", "licence": CC0}
    yield note(near, "txt", domain="philosophy", dimension="conceptual"), plain(near["title"], edited)
    text = hard["wrong_checksum"]
    yield note(text, "txt", stated_sha256="0" * 63 + "1"), plain(text["title"], text["text"])
    text = hard["private"]
    yield note(text, "txt", path="private/diary.txt"), plain(text["title"], text["text"])
    whole = pages.text_pdf(hard["born_digital"]["lines"])
    yield note({"id": "damaged-pdf", "title": "A damaged PDF"}, "pdf"), whole[:180] + b"\x00" * 64
    yield note({"id": "empty-file", "title": "An empty file"}, "txt"), b""


def articles() -> Iterator[Made]:
    """The Entrez database ``pmc``."""
    for number, entry in enumerate(written("articles")):
        row = {
            "id": entry["id"],
            "protocol": "entrez",
            "set": "pmc",
            "path": f"articles/{entry['id']}.xml",
            "media_type": "application/jats+xml",
            "title": entry["title"],
            "description": entry["abstract"],
            "licence": entry["licence"],
            "language": "en",
            "domain": "biology",
            "modality": "text",
            "fields": {"uid": entry["uid"], "accession": entry["id"]},
        }
        yield row, pages.jats(entry, str(date(2024, 2, 1) + timedelta(days=number)))


def dialogues() -> Iterator[Made]:
    """The web list ``dialogues``: a JSON Lines file a domain."""
    text = (WRITING / "dialogues.txt").read_text(encoding="utf-8")
    for block in re.split(r"^# ", text, flags=re.MULTILINE)[1:]:
        domain, _, rest = block.partition("\n")
        lines = []
        for number, talk in enumerate(filter(None, (part.strip() for part in rest.split("\n\n"))), 1):
            turns = [re.fullmatch(r"(Q|A)(?:\[(\w+)\])?: (.+)", line) for line in talk.splitlines()]
            messages = [
                {"role": "user" if turn[1] == "Q" else "assistant", "content": turn[3]}
                for turn in turns
                if turn
            ]
            if len(messages) != len(turns):
                raise ValueError(
                    f"writing/dialogues.txt, {domain}: every line starts with Q: or A:; see {talk!r}"
                )
            language = (turns[0] and turns[0][2]) or "en"
            lines.append(
                {"id": f"{domain}-{number:03}", "domain": domain, "language": language, "messages": messages}
            )
        row = {
            "id": domain,
            "protocol": "web",
            "set": "dialogues",
            "path": f"dialogues/{domain}.jsonl",
            "media_type": "application/x-ndjson",
            "title": f"Short dialogues: {domain}",
            "licence": "CC-BY-4.0",
            "attribution": ATTRIBUTION,
            "language": "en",
            "domain": domain,
            "modality": "dialogue",
            "dimension": "conversational",
        }
        yield row, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
