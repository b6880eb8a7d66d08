"""The golden items as an upstream's items.

``python -m deploy.local.upstream --mapping tests.golden.mapping --root ../shared/golden``

``INDEX.tsv`` names every file with its licence, origin and what is odd about it. Damaged files and edge
cases stay in: a pipeline must set them aside by itself. Nothing is copied; the files are served from where
they are.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.items import Item

ORIGIN = "http://golden.luca.test"
CHANGED = "2026-01-01T00:00:00Z"

# What INDEX.tsv says, and how an upstream would state it. The longest beginning that fits is taken.
LICENCES = {
    "CC-BY-3.0": "CC-BY-3.0",
    "CC-BY-4.0": "CC-BY-4.0",
    "CC-BY-2.0": "CC-BY-2.0",
    "CC-BY (PLOS)": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-3.0": "CC-BY-SA-3.0",
    "CC-BY-SA-4.0": "CC-BY-SA-4.0",
    "CC-BY-SA (Wikipedia)": "CC-BY-SA-3.0",
    "GFDL/CC-BY-SA multi": "CC-BY-SA-3.0",
    "GFDL-1.2-or-later OR CC-BY-SA-3.0": "CC-BY-SA-3.0",
    "CC0-1.0": "CC0-1.0",
    "public domain": "Public domain",
    "LGPL-3.0-or-later": "LGPL-3.0-or-later",
    "GPL-2+": "GPL-2.0-or-later",
    "GPL-2": "GPL-2.0-only",
    "GPL-3.0+ (package); RefSeq sequence public": "INSDC: no use restrictions",
    "Apache-2.0 (package); NASA PDS data": "US Government work",
    "Apache-2.0": "Apache-2.0",
    "MIT (repo); NASA/JPL-Caltech": "Courtesy NASA/JPL-Caltech",
    "MIT": "MIT",
    "Biopython License Agreement (or BSD-3-Clause where dual); INSDC": "INSDC: no use restrictions",
    "Biopython License Agreement (or BSD-3-Clause where dual); UniProt": "CC-BY-4.0",
    "INSDC/GenBank record": "INSDC: no use restrictions",
    "BSD-3-Clause": "BSD-3-Clause",
}
MEDIA_TYPES = {
    ".md": "text/markdown; charset=utf-8",
    ".cnxml": "application/xml",
    ".xhtml": "application/xhtml+xml",
    ".html": "text/html; charset=utf-8",
    ".nxml": "application/jats+xml",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".gb": "text/x-genbank",
    ".gbk": "text/x-genbank",
    ".gp": "text/x-genbank",
    ".fasta": "text/x-fasta",
    ".fna": "text/x-fasta",
    ".ffn": "text/x-fasta",
    ".faa": "text/x-fasta",
    ".fa": "text/x-fasta",
    ".nu": "text/x-fasta",
    ".pro": "text/x-fasta",
    ".xml": "application/xml",
    ".jsonl": "application/x-ndjson",
    ".org": "text/plain; charset=utf-8",
    ".cfg": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Row:
    """A line of INDEX.tsv."""

    path: str
    licence: str
    notes: str

    @property
    def suffix(self) -> str:
        return Path(self.path).suffix.lower()

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES.get(self.suffix, "application/octet-stream")

    @property
    def identifier(self) -> str:
        """The path with what could trouble an id replaced: unique as the path is."""
        return re.sub(r"[^\w.-]", "_", self.path)


def read_index(root: Path) -> list[Row]:
    """The rows whose files stand, by path; raises FileNotFoundError if there is no INDEX.tsv."""
    with (root / "INDEX.tsv").open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        rows = [Row(line["path"], line["license"], line["notes"] or "") for line in lines]
    return sorted((row for row in rows if (root / row.path).is_file()), key=lambda row: row.path)


def stated(licence: str) -> str:
    """How an upstream would state a licence of INDEX.tsv; raises KeyError that names the mend."""
    fitting = [known for known in LICENCES if licence.startswith(known)]
    if not fitting:
        raise KeyError(
            f"INDEX.tsv states the licence {licence!r}: add it to LICENCES in tests/golden/mapping.py"
        )
    return LICENCES[max(fitting, key=len)]


def items(root: Path) -> list[Item]:
    """Every golden item that some entry of tests/golden/catalog.yaml asks for, in a fixed order."""
    rows = read_index(root)
    return [
        *_web(rows),
        *_articles(rows, root),
        *_sequences(rows, root),
        *_images(rows),
        *_sounds(rows),
        *_records(root),
    ]


# list, beginning of the path, endings, and what the items of the list have in common
WEB_LISTS: tuple[tuple[str, str, tuple[str, ...], dict[str, str]], ...] = (
    ("textbook", "text/openstax_biology/", (".md",), {"modality": "text"}),
    (
        "philosophy",
        "text/openstax_philosophy/",
        (".cnxml",),
        {"domain": "philosophy", "tradition": "western"},
    ),
    ("darwin", "text/darwin_origin/", (".xhtml",), {"region": "europe", "tradition": "western"}),
    ("encyclopedia", "html/", ("source.html",), {"modality": "text"}),
    ("scans", "pdf/", (".pdf", ".png"), {"modality": "text"}),
    ("sequences", "genomes/biopython_fasta/", (".nu", ".fa", ".fasta"), {"modality": "dna"}),
    ("sequences", "genomes/biopython_fasta/", (".pro",), {"modality": "protein"}),
    ("sequences", "genomes/biopython_genbank/", (".fna", ".ffn"), {"modality": "dna"}),
    ("sequences", "genomes/biopython_genbank/", (".faa",), {"modality": "protein"}),
    ("sequences", "genomes/ncbi_data/humrep", (".fsa",), {"modality": "dna"}),
    ("swissprot", "uniprot/swissprot/", (".txt", ".fasta"), {"modality": "protein"}),
    ("avida", "alife/avida/", (".org", ".cfg"), {"domain": "alife"}),
    ("models", "synbio/", (".xml",), {"domain": "synbio"}),
    ("pictures", "images/skimage/", (".png", ".jpg"), {"modality": "image"}),
    ("dialogues", "qa/openstax_biology_qa", (".jsonl",), {"modality": "dialogue"}),
)


def _web(rows: list[Row]) -> Iterator[Item]:
    for name, start, endings, common in WEB_LISTS:
        for row in rows:
            if row.path.startswith(start) and row.path.endswith(endings):
                yield _item(row, "web", name, id=row.identifier, **common)


def _item(row: Row, protocol: str, set_: str, **values: Any) -> Item:
    facts = {
        "protocol": protocol,
        "set": set_,
        "path": row.path,
        "media_type": row.media_type,
        "title": f"{row.notes}: {Path(row.path).name}" if row.notes else Path(row.path).name,
        "licence": stated(row.licence),
        "created": CHANGED,
        "datestamp": CHANGED,
    }
    return Item.model_validate(facts | values)


def _articles(rows: list[Row], root: Path) -> Iterator[Item]:
    """PMC full text: the number and title stand in the file, and so does the licence."""
    for row in rows:
        if not row.path.startswith("entrez/pmc_nxml/"):
            continue
        text = (root / row.path).read_text(encoding="utf-8")
        number = re.search(r'pub-id-type="pmc">(?:PMC)?(\d+)', text)
        title = re.search(r"<article-title>(.*?)</article-title>", text, re.DOTALL)
        assert number is not None and title is not None, row.path
        plain = " ".join(re.sub(r"<[^>]+>", "", title[1]).split())
        fields = {"uid": int(number[1]), "accession": f"PMC{number[1]}"}
        yield _item(row, "entrez", "pmc", id=f"PMC{number[1]}", title=plain, fields=fields)


def _sequences(rows: list[Row], root: Path) -> Iterator[Item]:
    """E. coli, phage lambda, and GenBank flat files, some deliberately malformed."""
    uid = 1
    whole = {
        "genomes/U00096.3": ("U00096.3", "Escherichia coli"),
        "genomes/lambda_phage": ("NC_001416.1", "Lambda"),
    }
    for row in rows:
        known = next((value for start, value in whole.items() if row.path.startswith(start)), None)
        if known is not None:
            name, organism = known
            kind = "text/x-fasta"
        elif row.path.startswith("genomes/biopython_genbank/") and row.suffix in (".gb", ".gbk"):
            name, organism, kind = f"GB_{Path(row.path).stem}.1", "various", "text/x-genbank"
        else:
            continue
        with (root / row.path).open(encoding="utf-8", errors="replace") as file:
            amino = kind == "text/x-genbank" and " aa " in file.readline()
        database, modality = ("protein", "protein") if amino else ("nuccore", "dna")
        fields = {"uid": uid, "accession": name, "organism": organism, "taxid": 131567}
        yield _item(row, "entrez", database, id=f"{uid}", media_type=kind, modality=modality, fields=fields)
        uid += 1


def _images(rows: list[Row]) -> Iterator[Item]:
    """Mars from rovers, Jupiter and its moons from Galileo, Juno and New Horizons, with PDS3 labels."""
    labels = {row.path.rpartition(".")[0]: row.path for row in rows if row.suffix == ".lbl"}
    for row in rows:
        stem = Path(row.path).stem
        if row.path.startswith("images/mars/") and row.suffix in (".png", ".jpg"):
            fields = {"lid": f"urn:nasa:pds:mars_raw:{stem.lower()}", "target": "Mars"}
            yield _item(row, "pds", "mars_raw", id=stem, modality="image", fields=fields)
        elif row.path.startswith("pds/pds3/") and row.suffix in (".img", ".fit", ".jpg"):
            fields = {"lid": f"urn:nasa:pds:jupiter:{stem.lower()}", "target": "Jupiter"}
            label = labels.get(row.path.rpartition(".")[0])
            if label is not None:
                fields["label"] = label
            yield _item(row, "pds", "jupiter", id=stem, modality="image", fields=fields)


def _sounds(rows: list[Row]) -> Iterator[Item]:
    """Field recordings as Xeno-canto would list them; the recordists' names are not in the files."""
    number = 800001
    for row in rows:
        if row.path.startswith("audio/") and row.suffix in (".wav", ".mp3"):
            fields = {"gen": "Sonus", "sp": "naturalis", "cnt": "United States", "type": "field recording"}
            yield _item(row, "xeno_canto", "soundscape", id=f"{number}", modality="audio", fields=fields)
            number += 1


def _records(root: Path, most: int = 60) -> Iterator[Item]:
    """Dublin Core records out of a recorded harvest of Zenodo (metadata CC0)."""
    import yaml
    from lxml import etree

    path = root / "oai/scythe_cassettes/list_records.yaml"
    if not path.is_file():
        return
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    seen: set[str] = set()
    for interaction in yaml.load(path.read_text(encoding="utf-8"), loader)["interactions"]:
        tree = etree.fromstring(interaction["response"]["body"]["content"].encode())
        for record in tree.iter("{*}record"):
            identifier, datestamp = record.findtext(".//{*}identifier"), record.findtext(".//{*}datestamp")
            if len(seen) >= most or identifier in seen or identifier is None:
                continue
            seen.add(identifier)
            texts = {
                name: " ".join(
                    (record.findtext(f".//{{http://purl.org/dc/elements/1.1/}}{name}") or "").split()
                )
                for name in ("title", "creator", "description", "language")
            }
            yield Item(
                id=identifier,
                protocol="oai_pmh",
                set="records",
                title=texts["title"],
                creator=texts["creator"],
                description=texts["description"],
                language=texts["language"] or None,
                licence="CC0-1.0",
                datestamp=datestamp or CHANGED,
                created=datestamp or CHANGED,
                deleted=record.find("{*}header").get("status") == "deleted",
            )
