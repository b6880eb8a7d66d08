"""From a source's manifest to its documents table: items mapped over workers, results in item order.

A worker writes what it made of an item to a spool file of its own and gives back the name, so neither it
nor the parent holds more than a row group. The table depends on the items and the code alone: not on the
number of workers, nor on which of them was faster.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from assets.documents.clean import clean_text
from assets.documents.dispatch import is_plain, opened
from assets.documents.language import choose_language, detect_language
from assets.documents.parts import Part, RawItem, Rejection, Unreadable
from assets.documents.schema import (
    DOCUMENTS,
    DOMAINS,
    REJECTED,
    canonical_json,
    content_sha256,
    document_id,
    document_prefix,
    render_dialogue,
)
from assets.documents.split import split_text
from assets.tables import TableWriter, read_rows

if TYPE_CHECKING:
    from resources.compute import LocalCompute
    from resources.manifest import Manifest
    from resources.store import ArtifactWriter, Store

# A page that hangs a parser must not hang the refresh; OCR of sixty pages takes some four minutes.
ITEM_TIMEOUT_SECONDS = 600
MAX_REJECTIONS_PER_ITEM = 1000
_SIMPLE = {
    "text/plain",
    "text/markdown",
    "text/x-fasta",
    "application/jsonl",
    "application/x-ndjson",
    "application/jsonlines",
    "application/x-jsonlines",
}
_SIMPLE_BYTES = 1 << 20
_BYTES_PER_WORKER = 2 << 20
_STORE_FAULTS = {"StoreError", "ObjectMissing", "ObjectDamaged"}
# Input/output error, too many open files, no space, read-only, quota.
_MACHINE_FAULT = re.compile(r"\[Errno (?:5|23|24|28|30|122)\]")
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Work:
    """One item for a worker: its manifest row and where to spool its documents."""

    row: Mapping[str, Any]
    spool: str


@dataclass(frozen=True)
class Done:
    """What a worker made of an item: how many documents lie in the spool, what was set aside, payloads."""

    documents: int
    rejections: tuple[tuple[str, str, str], ...]
    payloads: tuple[str, ...]


def build_documents(
    store: Store,
    source: Manifest,
    name: str,
    compute: LocalCompute,
    writer: ArtifactWriter,
    progress: Progress | None = None,
) -> None:
    """Write documents.parquet and rejected.parquet of `sources/<name>` into `writer`.

    Items that upstream withdrew, denied or damaged, and those excluded by their licence, are listed as
    rejected with the manifest's own reason, and never opened.
    """
    rows = sorted(_manifest_rows(store, source), key=lambda r: document_prefix(r["item_id"]))
    trainable = [row for row in rows if is_trainable(row)]
    rejected = [r for row in rows if (r := withheld(row)) is not None]
    made = 0
    with tempfile.TemporaryDirectory(prefix="luca-documents-") as folder:
        work = [
            (row["item_id"], Work(row, str(Path(folder) / f"{number:08d}.arrow")))
            for number, row in enumerate(trainable)
        ]
        pool = pool_for(compute, trainable)
        if pool.workers == 0 < compute.workers and not all(_is_plain(store, row) for row in trainable):
            pool = type(compute)(workers=1)  # something else under a plain name
        results = pool.map(partial(read_item, store, name), work, timeout_seconds=ITEM_TIMEOUT_SECONDS)
        with (
            writer.open("documents.parquet") as sink,
            TableWriter(sink, DOCUMENTS, ("document_id",)) as table,
        ):
            for number, (item_id, result) in enumerate(results):
                spool = Path(work[number][1].spool)
                done = getattr(result, "value", None)
                if isinstance(done, Done):
                    for row in _spooled(spool):
                        table.write(row)
                    for sha256 in done.payloads:
                        writer.reference(sha256)
                    rejected += [_rejection(item_id, *r) for r in done.rejections]
                else:
                    refuse_own_faults(item_id, result)
                    rejected.append(_failure(item_id, result))
                spool.unlink(missing_ok=True)
                if progress:
                    progress(number + 1, len(work))
            made = table.rows
    rejected.sort(key=lambda r: (r["item_id"], r["part"], r["reason"], r["detail"]))
    with writer.open("rejected.parquet") as sink, TableWriter(sink, REJECTED) as table:
        for row in rejected:
            table.write(row)
    writer.figures["items"] = len(rows)
    writer.figures["documents"] = made
    writer.figures["rejected"] = dict(sorted(Counter(r["reason"] for r in rejected).items()))


def pool_for(compute: LocalCompute, rows: Sequence[Mapping[str, Any]]) -> LocalCompute:
    """As many workers as the work is worth: a worker costs two CPU-seconds before its first item.

    A small source of plain formats is read in this process; one with formats whose parsers are C code, or
    may hang, needs workers that can be killed. The table is the same either way.
    """
    size = sum(row["bytes"] or 0 for row in rows)
    simple = all((row["media_type"] or "").partition(";")[0].strip().lower() in _SIMPLE for row in rows)
    if simple and size <= _SIMPLE_BYTES:
        return type(compute)(workers=0)
    # A scanned page is small and takes ten CPU-seconds to read.
    scans = sum("pdf" in (row["media_type"] or "") for row in rows)
    worth = max(1, -(-size // _BYTES_PER_WORKER), scans // 2)
    return type(compute)(workers=min(compute.workers, worth))


def is_trainable(row: Mapping[str, Any]) -> bool:
    """Live, held, and allowed to be trained on, with a licence that says so."""
    return bool(row["status"] == "live" and row["may_train"] and row["sha256"] and row["licence"])


def withheld(row: Mapping[str, Any]) -> dict[str, str] | None:
    """The rejection of an item that must not be read, or None where it may be."""
    if is_trainable(row):
        return None
    status = row["status"]
    if status == "live":
        reason = "no_training" if row["licence"] else "no_licence"
        detail = row["reason"] or f"licence as stated: {row['licence_stated'] or 'none'}"
    else:
        reason, detail = status, row["reason"] or ""
    return _rejection(row["item_id"], "", reason, detail)


def read_item(store: Store, source: str, work: Work) -> Done:
    """Read one item in a worker: documents to the spool, payloads to the store, the rest as rejections."""
    row = work.row
    rejections: list[tuple[str, str, str]] = []
    payloads: list[str] = []
    number = 0
    item = _raw_item(store, row)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(work.spool, "wb") as sink, pa.ipc.new_stream(sink, DOCUMENTS, options=options) as spool:
        try:
            # Beside the spool, so that what a killed worker leaves goes with it.
            with opened(item, Path(work.spool).parent) as (plain, reader):
                for found in reader(plain):
                    if isinstance(found, Rejection):
                        rejections.append((found.part, found.reason, found.detail))
                        continue
                    made, problem = _documents(store, row, source, found, number)
                    if problem:
                        rejections.append((f"part {number}", *problem))
                    for document in made:
                        if document["payload_sha256"]:
                            payloads.append(document["payload_sha256"])
                        spool.write_batch(pa.RecordBatch.from_pylist([document], schema=DOCUMENTS))
                    number += len(made)
        except Unreadable as error:
            rejections.append(("", error.reason, scrub(error.detail, item.path)))
    if number == 0 and not rejections:
        rejections.append(("", "no_text", "the reader found nothing"))
    if len(rejections) > MAX_REJECTIONS_PER_ITEM:
        more = Counter(r[1] for r in rejections[MAX_REJECTIONS_PER_ITEM:])
        rejections = rejections[:MAX_REJECTIONS_PER_ITEM]
        rejections += [
            ("the rest", reason, f"{count} more like this") for reason, count in sorted(more.items())
        ]
    return Done(number, tuple(rejections), tuple(payloads))


def _raw_item(store: Store, row: Mapping[str, Any]) -> RawItem:
    try:
        metadata = json.loads(row["metadata"] or "{}")
    except json.JSONDecodeError:
        metadata = {}
    return RawItem(
        item_id=row["item_id"],
        path=store.object_path(row["sha256"]),
        media_type=row["media_type"] or "",
        url=row["url"] or "",
        title=row["title"] or "",
        modality=row["modality"] or "",
        language=row["language"] or "",
        metadata=metadata if isinstance(metadata, dict) else {},
        fetch=store.object_path,
    )


def _is_plain(store: Store, row: Mapping[str, Any]) -> bool:
    with store.open_object(row["sha256"]) as file:
        return is_plain(file.read(8192), row["media_type"] or "", row["url"] or "", row["modality"] or "")


def _documents(
    store: Store, row: Mapping[str, Any], source: str, part: Part, first_number: int
) -> tuple[list[dict[str, Any]], tuple[str, str] | None]:
    """Documents of one part (long texts give several), or why it gives none: (reason, detail)."""
    quality = dict(part.quality)
    domain = part.domain or row["domain"]
    if domain not in DOMAINS:
        return [], ("bad_domain", f"{domain!r} is none of {', '.join(DOMAINS)}")
    title = clean_text(part.title or row["title"] or "")[0] or None
    payload = None
    texts: list[str | None] = [None]
    language = row["language"] if part.modality == "text" or part.messages else None
    if part.payload is not None:
        payload = store.put_object(part.payload).sha256
    elif part.messages is not None:
        texts = [render_dialogue(part.messages)]
        language = part.language or language
    elif part.clean:
        text, figures = clean_text(part.text or "")
        if not any(c.isalnum() for c in text):
            return [], ("no_text", "no letter is left after cleaning")
        detected, rank = detect_language(text, part.language or language)
        language = choose_language(part.language or language, detected)
        quality |= figures | text_figures(text) | ({"language_rank": rank} if detected else {})
        texts = list(split_text(text))
    else:
        texts = [part.text or ""]
    return [
        {
            "document_id": document_id(row["item_id"], first_number + index),
            "item_id": row["item_id"],
            "source": source,
            "kind": "dialogue" if part.messages is not None else "document",
            "modality": part.modality,
            "domain": domain,
            "dimension": part.dimension or row["dimension"],
            "language": language,
            "region": row["region"],
            "tradition": row["tradition"],
            "title": title,
            "text": text,
            "messages": [dict(m) for m in part.messages] if part.messages is not None else None,
            "payload_sha256": payload,
            "payload_media_type": part.payload_media_type,
            "licence": row["licence"],
            "attribution": row["attribution"],
            "url": row["url"],
            "raw_sha256": row["sha256"],
            "content_sha256": content_sha256(part.modality, text, part.messages, payload),
            "characters": len(text or ""),
            "quality": canonical_json(quality | ({"parts": len(texts)} if len(texts) > 1 else {})),
        }
        for index, text in enumerate(texts)
    ], None


def text_figures(text: str) -> dict[str, float]:
    """Shares that tell prose from noise: letters among visible characters, and repeated lines."""
    visible = sum(not c.isspace() for c in text)
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return {
        "letter_share": round(sum(c.isalpha() for c in text) / max(1, visible), 4),
        "repeated_line_share": round(1 - len(set(lines)) / max(1, len(lines)), 4),
    }


def _manifest_rows(store: Store, source: Manifest) -> Iterator[dict[str, Any]]:
    with store.open_file(source, "manifest.parquet") as file:
        yield from read_rows(file)


def _spooled(path: Path) -> Iterator[dict[str, Any]]:
    with pa.OSFile(str(path), "rb") as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            yield from batch.to_pylist()


def scrub(detail: str, *paths: Path) -> str:
    """A message without this machine's paths and addresses: the table is the same wherever it is made."""
    for path in paths:
        detail = detail.replace(str(path), "the file")
    detail = re.sub(r"/[^\s'\":]*(?:/objects/|/luca-)[^\s'\":]*", "the file", detail)
    return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x…", detail)


def _rejection(item_id: str, part: str, reason: str, detail: str) -> dict[str, str]:
    return {"item_id": item_id, "part": part, "reason": reason, "detail": detail[:1000]}


class MachineFault(Exception):
    """The machine or the store failed, not the item: a table without it would pass for whole."""


def refuse_own_faults(item_id: str, result: Any) -> None:
    """Raise MachineFault where an item's failure is a full disk or a lost object."""
    kind, message = str(getattr(result, "error_type", "")), str(getattr(result, "message", ""))
    if kind in _STORE_FAULTS or _MACHINE_FAULT.match(message):
        raise MachineFault(f"{item_id}: {kind}: {message}. Mend that, and materialize the documents again.")


def _failure(item_id: str, result: Any) -> dict[str, str]:
    """A worker's failure as a rejected row: the kind of error is the reason, so that it is counted."""
    kind = str(getattr(result, "error_type", "Error"))
    reason = {"Timeout": "timeout", "WorkerKilled": "worker_killed"}.get(kind, "reader_error")
    return _rejection(item_id, "", reason, scrub(f"{kind}: {getattr(result, 'message', '')}"))
