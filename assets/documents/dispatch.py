"""Which reader reads an item: by its first bytes, then by its media type, its name and its modality.

Bytes are believed before labels: upstreams call half of what they hold text/plain or octet-stream.
Where the bytes plainly contradict the stated type (a page of HTML where a picture should be), the item
is damaged, and says so.
"""

from __future__ import annotations

import bz2
import gzip
import re
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from assets.documents.parts import RawItem, Reader, Unreadable

MAX_DECOMPRESSED = 2 * 2**30
_HEAD = 8192
_PLAIN = {"plain", "markdown", "fasta", "dialogues"}

_MAGIC = (
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n", "image"),
    (b"\xff\xd8\xff", "image"),
    (b"GIF8", "image"),
    (b"II*\x00", "image"),
    (b"MM\x00*", "image"),
    (b"BM", "image"),
    (b"fLaC", "audio"),
    (b"OggS", "audio"),
    (b"ID3", "audio"),
    (b"FORM", "audio"),
)
_ROOTS = {
    "article": "jats",
    "pmc-articleset": "jats",
    "sbml": "sbml",
    "html": "html",
    "document": "cnxml",
    "collection": "cnxml",
    "record": "dublin_core",
    "OAI-PMH": "dublin_core",
    "dc": "dublin_core",
}
_TYPES = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "application/pdf": "pdf",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/jsonl": "dialogues",
    "application/x-ndjson": "dialogues",
    "application/jsonlines": "dialogues",
    "application/x-jsonlines": "dialogues",
    "text/x-fasta": "fasta",
    "text/fasta": "fasta",
    "application/x-fasta": "fasta",
    "chemical/seq-na-fasta": "fasta",
    "chemical/seq-aa-fasta": "fasta",
    "text/x-genbank": "genbank",
    "chemical/seq-na-genbank": "genbank",
    "chemical/seq-aa-genpept": "genbank",
    "chemical/x-embl-dl-nucleotide": "embl",
    "text/plain": "plain",
}
_SUFFIXES = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "dialogues",
    ".ndjson": "dialogues",
    ".fa": "fasta",
    ".fasta": "fasta",
    ".fna": "fasta",
    ".faa": "fasta",
    ".ffn": "fasta",
    ".fsa": "fasta",
    ".pro": "fasta",
    ".nu": "fasta",
    ".gb": "genbank",
    ".gbk": "genbank",
    ".gp": "genbank",
    ".embl": "embl",
    ".img": "raster",
    ".imq": "raster",
    ".dat": "raster",
    ".fit": "raster",
    ".fits": "raster",
    ".txt": "plain",
    ".org": "plain",
    ".cfg": "plain",
    ".rst": "plain",
}
_ROOT = re.compile(rb"<(?:[A-Za-z_][\w.-]*:)?([A-Za-z_][\w.-]*)[\s/>]")
_BINARY = {"pdf", "image", "audio", "raster"}


def detect(head: bytes, media_type: str, url: str, modality: str) -> str:
    """Name of the format; Unreadable ``empty``, ``mismatch`` or ``unsupported``.

    `head` holds the first bytes of the item, at least some hundred where there are so many.
    """
    if not head:
        raise Unreadable("empty", "the file holds no byte")
    stated = media_type.partition(";")[0].strip().lower()
    by_bytes = _by_bytes(head)
    if stated.startswith(("image/", "audio/")) and by_bytes not in {stated[:5], None}:
        raise Unreadable("damaged", f"{stated} is stated, the bytes look like {by_bytes}")
    if stated == "application/pdf" and by_bytes != "pdf":
        raise Unreadable("damaged", "application/pdf is stated, the bytes do not start as one")
    by_name = _SUFFIXES.get(Path(urlsplit(url).path).suffix.lower())
    if by_bytes:
        # A Markdown page may start with HTML, a JSON Lines file with a brace.
        return by_name if by_bytes == "html" and by_name == "markdown" else by_bytes
    if modality == "dialogue":
        return "dialogues"
    by_type = _TYPES.get(stated)
    if by_type and by_type != "plain":
        return by_type
    if stated.startswith("audio/"):
        return "audio"
    if modality == "audio" and stated not in {"text/plain"}:
        return "audio"
    if by_name and (by_name not in _BINARY or b"\x00" in head or modality == "image"):
        return by_name
    if modality == "image" or stated.startswith("image/"):
        return "raster" if stated in {"image/x-pds", "application/octet-stream", ""} else "image"
    if by_type == "plain" or stated.startswith("text/") or b"\x00" not in head:
        if modality in {"dna", "protein"}:
            raise Unreadable(
                "unsupported", f"no sequence format is known by these bytes ({stated or 'no type'})"
            )
        return "plain"
    raise Unreadable("unsupported", f"no reader for {stated or 'bytes without a media type'}")


def _by_bytes(head: bytes) -> str | None:
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head.startswith(b"RIFF"):
        return "image" if head[8:12] == b"WEBP" else "audio"
    if head[:2] in {b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xfa"}:
        return "audio"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if b"%PDF-" in head[:1024] and b"\x00" in head:
        return "pdf"
    if text.startswith(b"PDS_VERSION_ID") or b"SFDU_LABEL" in head[:200]:
        return "raster"
    if text.startswith(b"<"):
        return _by_root(text)
    if text.startswith(b">") and re.match(rb">[^\n]*\n[A-Za-z*\s-]*", text) and not text.startswith(b"> "):
        return "fasta"
    if re.match(rb"LOCUS\s+\S", text):
        return "genbank"
    if re.match(rb"ID {3}\S+.*(?:;|BP|AA)", text):
        return "embl"
    if re.match(rb'\{\s*"(?:messages|question|id|module|domain|section)"', text):
        return "dialogues"
    return None


def _by_root(text: bytes) -> str | None:
    if re.match(rb"<!doctype\s+html", text, re.IGNORECASE):
        return "html"
    found = _ROOT.search(text)
    root = found.group(1).decode("ascii") if found else ""
    if root.lower() in {"html", "head", "body"}:
        return "html"
    if root == "document" and b"cnxml" not in text[:_HEAD]:
        return None
    if text.startswith(b"<?xml") or root in _ROOTS or b"xmlns" in text[:1024]:
        if root not in _ROOTS:
            raise Unreadable("unsupported", f"no reader for XML with the root <{root}>")
        return _ROOTS[root]
    return None


def reader_for(name: str) -> Reader:
    """The reader function of a format; imported when it is first needed."""
    return _LOADERS[name]()


def _load(module: str, function: str) -> Callable[[], Reader]:
    def load() -> Reader:
        import importlib

        reader: Reader = getattr(importlib.import_module(f"assets.documents.readers.{module}"), function)
        return reader

    return load


_LOADERS: dict[str, Callable[[], Reader]] = {
    "plain": _load("text", "read_plain"),
    "markdown": _load("text", "read_markdown"),
    "csv": _load("text", "read_csv"),
    "html": _load("html", "read_html"),
    "jats": _load("jats", "read_jats"),
    "cnxml": _load("cnxml", "read_cnxml"),
    "dublin_core": _load("records", "read_dublin_core"),
    "sbml": _load("records", "read_sbml"),
    "pdf": _load("pdf", "read_pdf"),
    "fasta": _load("fasta", "read_fasta"),
    "genbank": _load("flatfile", "read_genbank"),
    "embl": _load("flatfile", "read_embl"),
    "image": _load("image", "read_image"),
    "raster": _load("raster", "read_raster"),
    "audio": _load("audio", "read_audio"),
    "dialogues": _load("dialogues", "read_dialogues"),
}


def is_plain(head: bytes, media_type: str, url: str, modality: str) -> bool:
    """Whether an item that starts with these bytes is read without a parser that may crash or swell."""
    if head.startswith((b"\x1f\x8b", b"BZh")):
        return False
    try:
        return detect(head[:_HEAD], media_type, url, modality) in _PLAIN
    except Unreadable:
        return True


@contextmanager
def opened(item: RawItem, folder: Path | None = None) -> Iterator[tuple[RawItem, Reader]]:
    """The item, decompressed to a temporary file (in `folder`) where it is gzip or bzip2, and its reader."""
    with item.path.open("rb") as file:
        head = file.read(_HEAD)
    opener = gzip.open if head.startswith(b"\x1f\x8b") else bz2.open if head.startswith(b"BZh") else None
    if opener is None:
        yield item, reader_for(detect(head, item.media_type, item.url, item.modality))
        return
    with tempfile.TemporaryDirectory(prefix="luca-", dir=folder) as place:
        path = Path(place) / "item"
        _decompress(opener, item.path, path)
        inner = replace(item, path=path, media_type="", url=re.sub(r"\.(gz|bgz|bz2)$", "", item.url))
        with path.open("rb") as file:
            head = file.read(_HEAD)
        yield inner, reader_for(detect(head, inner.media_type, inner.url, inner.modality))


def _decompress(opener: Callable[..., object], source: Path, target: Path) -> None:
    try:
        with opener(source, "rb") as packed, target.open("wb") as plain:  # type: ignore[attr-defined]
            size = 0
            while chunk := packed.read(1 << 20):
                size += len(chunk)
                if size > MAX_DECOMPRESSED:
                    raise Unreadable("too_large", f"over {MAX_DECOMPRESSED} bytes when decompressed")
                plain.write(chunk)
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # a full disk, not a fault of the item
        raise Unreadable("damaged", f"the compressed file cannot be read to its end: {error}") from error
