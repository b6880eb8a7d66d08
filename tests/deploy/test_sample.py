"""The sample is what its writing and its rules make, and each troublemaker is as troublesome as promised."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
import soundfile
from PIL import Image

from assets.sources.catalog import load_catalog
from deploy.local.items import load_items
from deploy.local.make_sample import make_sample
from deploy.local.stand import SAMPLE

CATALOG = SAMPLE.parent / "catalog.yaml"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    make_sample(folder)
    return folder


def test_texts_and_sequences_are_made_byte_for_byte(made: Path) -> None:
    kinds = (".txt", ".md", ".html", ".xml", ".fasta", ".jsonl")
    names = sorted(
        str(p.relative_to(SAMPLE)) for p in SAMPLE.rglob("*") if p.suffix in kinds and p.name != "README.md"
    )
    assert len(names) > 80
    assert [name for name in names if (made / name).read_bytes() != (SAMPLE / name).read_bytes()] == []


def test_pictures_and_sounds_are_made_with_the_same_content(made: Path) -> None:
    # Encoders differ from release to release; what they encode must not.
    for path in sorted(SAMPLE.rglob("*.png")):
        if path.stem != "damaged-png":
            ours, theirs = (np.asarray(Image.open(p)) for p in (made / path.relative_to(SAMPLE), path))
            assert ours.shape == theirs.shape and np.abs(ours.astype(int) - theirs).max() <= 2, path
    for path in sorted(SAMPLE.rglob("*.flac")):
        ours, theirs = (soundfile.read(p, dtype="int16")[0] for p in (made / path.relative_to(SAMPLE), path))
        assert np.abs(ours.astype(int) - theirs).max() <= 1, path


def test_the_catalogue_is_valid_and_speaks_every_protocol() -> None:
    entries = load_catalog(CATALOG)
    assert {entry.protocol for entry in entries} == {"entrez", "oai_pmh", "pds", "xeno_canto", "web"}
    assert "dialogues" in {entry.name for entry in entries}


def test_dialogues_are_short_plain_and_unique() -> None:
    questions: set[str] = set()
    count = 0
    for path in sorted((SAMPLE / "dialogues").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            dialogue = json.loads(line)
            roles = [message["role"] for message in dialogue["messages"]]
            assert roles == ["user", "assistant"] * (len(roles) // 2)
            questions.add(dialogue["messages"][0]["content"])
            count += 1
            answers = [m["content"] for m in dialogue["messages"] if m["role"] == "assistant"]
            assert all(8 <= len(answer.split()) <= 45 for answer in answers), dialogue
    assert count == len(questions) >= 120


def test_damaged_files_cannot_be_read() -> None:
    with pytest.raises(OSError):
        Image.open(SAMPLE / "pictures/damaged-png.png").load()
    with pytest.raises(soundfile.LibsndfileError):
        soundfile.read(SAMPLE / "sounds/XC900012.wav")
    with pytest.raises(pypdfium2.PdfiumError):
        pypdfium2.PdfDocument(SAMPLE / "notes/damaged-pdf.pdf")
    assert (SAMPLE / "notes/empty-file.txt").read_bytes() == b""


def test_one_pdf_has_a_text_layer_and_one_is_a_picture() -> None:
    def text(name: str) -> str:
        return str(pypdfium2.PdfDocument(SAMPLE / "notes" / name)[0].get_textpage().get_text_range())

    assert "Mosses have no roots" in text("pdf-with-text.pdf")
    assert text("scanned-page.pdf").strip() == ""


def test_mojibake_is_repairable() -> None:
    import ftfy

    broken = (SAMPLE / "notes/mojibake-fr.txt").read_text(encoding="utf-8")
    assert "Ã©" in broken
    assert "Le lézard des murailles vit près des maisons" in ftfy.fix_text(broken)
    with pytest.raises(UnicodeDecodeError):
        (SAMPLE / "notes/latin1-text.txt").read_text(encoding="utf-8")


def test_every_file_belongs_to_an_item_and_all_is_small() -> None:
    named = {item.path for item in load_items(SAMPLE)} - {None}
    files = {str(p.relative_to(SAMPLE)) for p in SAMPLE.rglob("*") if p.is_file()}
    assert files - named == {"items.jsonl", "README.md"}
    assert sum((SAMPLE / name).stat().st_size for name in files) < 4 << 20


def test_proteins_are_translations_of_the_genes() -> None:
    from Bio import SeqIO

    gene = SeqIO.read(io.StringIO((SAMPLE / "nuccore/LN_990002.1.fasta").read_text()), "fasta")
    protein = SeqIO.read(io.StringIO((SAMPLE / "protein/LP_980006.1.fasta").read_text()), "fasta")
    assert str(gene.seq.translate(to_stop=True)) == str(protein.seq)
