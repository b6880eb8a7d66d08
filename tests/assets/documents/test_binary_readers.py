"""PDF and OCR, sequences, pictures and sounds: real files where they stand, made ones where they do not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.documents.parts import Part, Rejection, Unreadable
from assets.documents.readers.audio import encode_flac, resample
from assets.documents.readers.fasta import parse_fasta
from assets.documents.readers.flatfile import parse_embl, parse_genbank
from assets.documents.readers.pdf import flow, garbled
from assets.documents.readers.raster import parse_pds3
from assets.documents.readers.sequences import DNA, PART_LETTERS, Record, record_parts
from tests.assets.documents.helpers import read, texts


def parts_of(found: list[Part | Rejection]) -> list[Part]:
    return [f for f in found if isinstance(f, Part)]


def reasons(found: list[Part | Rejection]) -> list[str]:
    return [f.reason for f in found if isinstance(f, Rejection)]


def pixels(part: Part) -> Any:
    from PIL import Image

    with Image.open(io.BytesIO(part.payload or b"")) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


# Sequences


@settings(deadline=None)
@given(st.text(alphabet=DNA, min_size=1, max_size=400), st.integers(1, 70))
def test_fasta_gives_back_every_letter(letters: str, width: int) -> None:
    lines = [">seq one"] + [letters[i : i + width] for i in range(0, len(letters), width)]
    (record,) = parse_fasta(line + "\n" for line in lines)
    found = list(record_parts(record, "dna", "fasta"))
    if letters.strip("NX"):
        assert "".join(texts(found)) == letters
    else:
        assert reasons(found) == ["empty_sequence"]


def test_long_sequences_are_split_with_their_offsets() -> None:
    letters = "ACGT" * (PART_LETTERS // 2) + "GGG"
    record = Record("c", "chromosome", 1, lines=[(2, letters)])
    found = parts_of(list(record_parts(record, "dna", "fasta")))
    assert [p.quality["offset"] for p in found] == [0, PART_LETTERS, 2 * PART_LETTERS]
    assert "".join(p.text or "" for p in found) == letters


@pytest.mark.parametrize(
    ("lines", "modality", "reason", "detail"),
    [
        ([">x", "ACGT", "AC!T"], "dna", "invalid_letter", "line 3, letter 3: '!'"),
        ([">x", "MKV", "MK1"], "protein", "invalid_letter", "line 3, letter 3: '1'"),
        ([">x"], "dna", "empty_sequence", "no letter follows"),
        ([">x", "NNNN"], "dna", "empty_sequence", "unknown letters"),
    ],
)
def test_bad_sequences_say_where(lines: list[str], modality: str, reason: str, detail: str) -> None:
    (record,) = parse_fasta(lines)
    (found,) = record_parts(record, modality, "fasta")
    assert isinstance(found, Rejection) and found.reason == reason and detail in found.detail


def test_rna_masked_letters_gaps_and_stops_are_normalised() -> None:
    assert texts(list(record_parts(Record("r", "", 1, lines=[(2, "acgu-n")]), "dna", "fasta"))) == ["ACGTN"]
    assert texts(list(record_parts(Record("p", "", 1, lines=[(2, "MKV*")]), "protein", "fasta"))) == ["MKV"]


def test_torn_flat_files_are_noticed() -> None:
    whole = ["LOCUS       X 8 bp DNA", "DEFINITION  A test.", "ORIGIN", "        1 acgtacgt", "//"]
    (record,) = parse_genbank(whole)
    assert texts(list(record_parts(record, "", "genbank"))) == ["ACGTACGT"]
    (record,) = parse_genbank(whole[:-1])
    assert texts(list(record_parts(record, "", "genbank"))) == ["ACGTACGT"]
    (record,) = parse_genbank([*whole[:3], "        1 acgt"])
    assert reasons(list(record_parts(record, "", "genbank"))) == ["truncated"]
    (record,) = parse_embl(["ID   P1; 3 AA.", "DE   RecName: Full=Tiny;", "SQ   SEQUENCE", "     MKV", "//"])
    assert (record.modality, record.description) == ("protein", "Tiny")


def test_the_genome_of_e_coli_is_whole(golden: Path) -> None:
    found = parts_of(read(golden / "genomes/U00096.3_ecoli_k12_mg1655.fasta", modality="dna"))
    assert sum(len(p.text or "") for p in found) == 4_641_652
    assert len(found) == 47 and all(p.modality == "dna" for p in found)


def test_flat_files_agree_with_biopython(golden: Path) -> None:
    seqio = pytest.importorskip("Bio.SeqIO")
    names = ["genomes/biopython_genbank/NC_005816.gb", "genomes/biopython_genbank/cor6_6.gb"]
    for name, form in [(n, "genbank") for n in names] + [("uniprot/swissprot/multi_ex.txt", "swiss")]:
        expected = [str(r.seq).upper() for r in seqio.parse(golden / name, form)]
        assert texts(read(golden / name, modality="")) == expected


# PDF


def test_pdf_text_layers_are_read_and_flow(golden: Path) -> None:
    (part,) = read(golden / "pdf/born_digital/MoranI.pdf", "application/pdf")
    assert isinstance(part, Part) and part.quality["pages_layer"] == 8
    assert "autocorrelation coefficient to quantify whether the distribution" in (part.text or "")


def test_damaged_and_blank_pdfs_are_unreadable(golden: Path) -> None:
    with pytest.raises(Unreadable, match="damaged"):
        read(golden / "pdf/edge/invalid.pdf", "application/pdf")
    with pytest.raises(Unreadable, match="no_text"):
        read(golden / "pdf/scanned/blank.pdf", "application/pdf")


def page_image(lines: list[str]) -> Any:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (900, 90 + 60 * len(lines)), "white")
    font = ImageFont.load_default(size=30)
    for row, line in enumerate(lines):
        ImageDraw.Draw(image).text((40, 40 + 60 * row), line, fill="black", font=font)
    return image


LINES = ["Lichens are slow and patient.", "They live on bare rock", "and ask for little."]


@pytest.mark.parametrize(
    "degrees", [0, pytest.param(180, marks=pytest.mark.slow), pytest.param(270, marks=pytest.mark.slow)]
)
def test_image_only_pages_are_read_however_they_lie(tmp_path: Path, degrees: int) -> None:
    file = tmp_path / "scan.pdf"
    page_image(LINES).rotate(degrees, expand=True).save(file, "PDF", resolution=100)
    (part,) = read(file, "application/pdf")
    assert isinstance(part, Part) and part.quality["pages_ocr"] == 1
    assert " ".join((part.text or "").split()) == " ".join(LINES)
    assert part.quality["ocr_score"] > 0.9


def test_garbled_layers_are_told_from_text() -> None:
    assert garbled("\x01\x02\x03\x04 \x05\x06\x07") and garbled('"7+%- /&(=)?')
    assert not garbled("Plain words, with 3 numbers.") and not garbled("生命是什么") and not garbled("")


def test_lines_flow_into_paragraphs() -> None:
    text = (
        "A line that is long enough to be join-\ned with its neighbour because it goes on\nto here.\n\nNext"
    )
    assert (
        flow(text).split("\n\n")[0].startswith("A line that is long enough to be joined with its neighbour")
    )


# Pictures


def test_pictures_become_rgb_png(golden: Path, tmp_path: Path) -> None:
    from PIL import Image

    (part,) = read(golden / "images/skimage/camera.png", "image/png", "image")
    assert isinstance(part, Part) and pixels(part).shape == (512, 512, 3)
    deep = tmp_path / "deep.png"
    Image.fromarray(np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)).save(deep)
    (part,) = read(deep, "image/png", "image")
    assert isinstance(part, Part) and pixels(part).min() == 0 and pixels(part).max() == 255
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    (part,) = read(tmp_path / "clear.png", "image/png", "image")
    assert isinstance(part, Part) and (pixels(part) == 255).all()


def test_torn_pictures_are_damaged(golden: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes((golden / "images/skimage/camera.png").read_bytes()[:50_000])
    with pytest.raises(Unreadable, match="damaged"):
        read(torn, "image/png", "image")


def test_planetary_rasters_by_their_labels(golden: Path) -> None:
    (part,) = read(golden / "pds/planetaryimage/pds3_1band.IMG", "application/octet-stream", "image")
    assert isinstance(part, Part) and pixels(part).shape == (10, 10, 3)
    assert pixels(part)[0, 0, 0] == 0 and pixels(part)[9, 9, 0] == 255
    folder = golden / "pds/pds3/juno_junocam"
    name = "JNCR_2023136_51P00000_V01_shrunk"
    (part,) = read(folder / f"{name}.IMG", "", "image", label_sha256=f"{name}.LBL")
    assert isinstance(part, Part) and pixels(part).shape == (360, 720, 3)
    folder = golden / "pds/pds3/galileo_ssi"
    (part,) = parts_of(read(folder / "C0552809300R.IMG", "", "image", label_sha256="C0552809300R.LBL"))
    # The same product as the archive's own JPEG shows it: the raster was found at the right place.
    from PIL import Image

    browse = np.asarray(
        Image.open(folder / "C0552809300R_full.jpg").convert("L").resize((80, 80)), dtype=float
    )
    ours = Image.fromarray(pixels(part)).convert("L").resize((80, 80))
    assert np.corrcoef(browse.ravel(), np.asarray(ours, dtype=float).ravel())[0, 1] > 0.9
    with pytest.raises(Unreadable, match="no_label"):
        read(folder / "C0552809300R.IMG", "", "image")


def test_pds3_pointers_and_prefixes() -> None:
    label = (
        'RECORD_BYTES = 100\r\n^IMAGE = ("A.IMG", 4)\r\nOBJECT = IMAGE\r\n LINES = 2\r\n LINE_SAMPLES = 3\r\n'
        " SAMPLE_BITS = 16\r\n SAMPLE_TYPE = LSB_INTEGER\r\n LINE_PREFIX_BYTES = 5\r\n"
        "END_OBJECT = IMAGE\r\nEND\r\n"
    )
    raster = parse_pds3(label)
    assert (raster.offset, raster.dtype, raster.prefix, raster.lines, raster.samples) == (300, "<i2", 5, 2, 3)
    with pytest.raises(Unreadable, match="HUFFMAN"):
        parse_pds3(label.replace(" LINES", " ENCODING_TYPE = HUFFMAN\r\n LINES"))


# Sounds


def test_sounds_become_mono_flac_at_16_khz(tmp_path: Path) -> None:
    import soundfile

    rate, seconds = 48_000, 31
    time = np.arange(rate * seconds) / rate
    tone = np.stack([np.sin(2 * np.pi * 440 * time), np.zeros_like(time)], axis=1) * 0.5
    file = tmp_path / "tone.wav"
    soundfile.write(file, tone, rate)
    first, second = parts_of(read(file, "audio/wav", "audio"))
    samples, found_rate = soundfile.read(io.BytesIO(first.payload or b""))
    assert found_rate == 16_000 and samples.shape == (30 * 16_000,)
    spectrum = np.abs(np.fft.rfft(samples[:16_000]))
    assert int(spectrum.argmax()) == 440 and abs(np.abs(samples).max() - 0.25) < 0.02
    assert second.quality["offset_seconds"] == 30 and second.quality["seconds"] == 1


def test_the_same_samples_give_the_same_flac() -> None:
    samples = resample(np.sin(np.arange(44_100) / 9.0), 44_100)
    assert encode_flac(samples) == encode_flac(samples)


def test_silent_short_and_broken_sounds_are_set_aside(golden: Path, tmp_path: Path) -> None:
    assert reasons(read(golden / "audio/silence_10s.mp3", "audio/mpeg", "audio")) == ["silent"]
    with pytest.raises(Unreadable, match="too_short"):
        read(golden / "audio/stereo.wav", "audio/wav", "audio")
    broken = tmp_path / "x.wav"
    broken.write_bytes(b"RIFF\x00\x00\x00\x00WAVEjunk")
    with pytest.raises(Unreadable, match="damaged"):
        read(broken, "audio/wav", "audio")


def test_field_recordings_are_read(golden: Path) -> None:
    (part,) = read(golden / "audio/rugr_drum.wav", "audio/wav", "audio")
    assert isinstance(part, Part) and part.quality["seconds"] == 10
