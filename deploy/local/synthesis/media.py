"""The sample's sequences, pictures and sounds: rows of ``Item`` and their bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from deploy.local.synthesis import ATTRIBUTION, CC0, Made
from deploy.local.synthesis import pictures as draw
from deploy.local.synthesis import sequences as make
from deploy.local.synthesis import sounds as sing


def sequence(database: str, uid: int, title: str, letters: str, content: bytes | None = None) -> Made:
    accession = f"{'LN' if database == 'nuccore' else 'LP'}_{uid}.1"
    row = {
        "id": accession,
        "protocol": "entrez",
        "set": database,
        "path": f"{database}/{accession}.fasta",
        "media_type": "text/x-fasta",
        "title": title,
        "licence": CC0,
        "domain": "synbio" if "Synthetic" in title else "biology",
        "modality": "dna" if database == "nuccore" else "protein",
        "fields": {"uid": uid, "accession": accession, "organism": "synthetic construct", "taxid": 32630},
    }
    return row, make.fasta(accession, title, letters) if content is None else content


def sequences() -> Iterator[Made]:
    """The Entrez databases ``nuccore`` and ``protein``: a phage-like genome, gene families, peptides."""
    random = np.random.default_rng(20240101)
    yield sequence("nuccore", 990001, "Synthetic phage-like genome, circular", make.phage(random))
    proteins: list[tuple[str, str]] = list(make.KNOWN_PROTEINS.items())
    uid = 990002
    for family in range(1, 5):
        founder = make.gene(random, int(random.integers(220, 420)))
        for member, divergence in enumerate((0.0, 0.04, 0.12), 1):
            letters = make.relative(random, founder, divergence)
            yield sequence("nuccore", uid, f"Synthetic gene, family {family}, member {member}", letters)
            proteins.append((f"Synthetic protein, family {family}, member {member}", make.translate(letters)))
            uid += 1
    yield sequence(
        "nuccore", uid, "Synthetic record cut short", "", b">LN_%d.1 Synthetic record cut sho" % uid
    )
    bad = b">LN_%d.1 Synthetic record with invalid letters\nACGTAC!!12JOZ?ACGT\nAC<html>GT\n" % (uid + 1)
    yield sequence("nuccore", uid + 1, "Synthetic record with invalid letters", "", bad)
    for number, (title, letters) in enumerate(proteins):
        yield sequence("protein", 980001 + number, title, letters)


def pictures() -> Iterator[Made]:
    """The web list ``pictures`` and the PDS collection ``terrain``."""
    drawn = [
        (
            "rule-30",
            "Rule 30 from a single cell",
            "alife",
            draw.png(draw.elementary_automaton(30, 128, None)),
        ),
        (
            "rule-110",
            "Rule 110 from a random row",
            "alife",
            draw.png(draw.elementary_automaton(110, 160, 110)),
        ),
        (
            "rule-90",
            "Rule 90: a Sierpinski triangle",
            "alife",
            draw.png(draw.elementary_automaton(90, 128, None)),
        ),
        ("life-young", "The Game of Life after 12 steps", "alife", draw.png(draw.game_of_life(96, 1, 12))),
        ("life-old", "The Game of Life after 300 steps", "alife", draw.png(draw.game_of_life(128, 2, 300))),
        ("spots", "Gray-Scott: spots", "alife", draw.jpeg(draw.gray_scott(128, 0.035, 0.065, 3))),
        ("stripes", "Gray-Scott: stripes", "alife", draw.jpeg(draw.gray_scott(128, 0.046, 0.063, 4))),
        ("mitosis", "Gray-Scott: dividing spots", "alife", draw.jpeg(draw.gray_scott(96, 0.0367, 0.0649, 5))),
        ("tree-8", "A phylogenetic tree of 8 tips", "biology", draw.png(draw.phylogeny(160, 6, 8))),
        ("tree-16", "A phylogenetic tree of 16 tips", "biology", draw.png(draw.phylogeny(192, 7, 16))),
        ("sunflower", "Seeds at the golden angle", "biology", draw.png(draw.phyllotaxis(160, 340))),
        ("plasmid-map", "A plasmid map without names", "synbio", draw.png(draw.plasmid(160, 8))),
        ("gel", "A gel with a ladder", "synbio", draw.jpeg(draw.gel(128, 9))),
    ]
    drawn.append(("damaged-png", "A damaged picture", "alife", drawn[0][3][:60]))
    for name, title, domain, content in drawn:
        suffix = "jpg" if content[:2] == b"\xff\xd8" else "png"
        row: dict[str, Any] = {
            "id": name,
            "protocol": "web",
            "set": "pictures",
            "path": f"pictures/{name}.{suffix}",
            "media_type": "image/jpeg" if suffix == "jpg" else "image/png",
            "title": title,
            "licence": CC0,
            "attribution": ATTRIBUTION,
            "domain": domain,
            "modality": "image",
            "dimension": "perceptual",
        }
        yield row, content
    for number in range(7):
        red = number % 3 != 2
        row = {
            "id": f"terrain_{number + 1:02}",
            "protocol": "pds",
            "set": "luca_terrain",
            "path": f"terrain/terrain_{number + 1:02}.png",
            "media_type": "image/png",
            "title": f"Synthetic {'Martian' if red else 'lunar'} terrain {number + 1}",
            "description": "Fractal ground with craters, lit from the north-west; made from a seed.",
            "licence": CC0,
            "domain": "astrobiology",
            "modality": "image",
            "dimension": "perceptual",
            "fields": {"target": "Mars" if red else "Moon"},
            "stated_md5": "0" * 31 + "1" if number == 6 else None,
        }
        yield row, draw.png(draw.terrain(96 if number < 4 else 160, 40 + number, 8 + 6 * number, red))


def sounds() -> Iterator[Made]:
    """Xeno-canto's stand-in: invented birds, frogs and crickets; numbers 900001 and up."""
    by, sa = "//creativecommons.org/licenses/by/4.0/", "//creativecommons.org/licenses/by-sa/4.0/"
    made: list[tuple[str, str, str, str, str, bytes | None, dict[str, Any]]] = [
        (
            "birds",
            "Sylva",
            "prima",
            "First Songbird",
            by,
            sing.encode(sing.bird(2.5, 1, 2500, 5500, 4), "WAV"),
            {},
        ),
        (
            "birds",
            "Sylva",
            "secunda",
            "Second Songbird",
            by,
            sing.encode(sing.bird(3, 2, 3000, 7000, 6), "FLAC"),
            {},
        ),
        (
            "birds",
            "Sylva",
            "tertia",
            "Third Songbird",
            sa,
            sing.encode(sing.bird(2, 3, 1800, 3200, 3), "WAV"),
            {},
        ),
        (
            "birds",
            "Strix",
            "ficta",
            "Invented Owl",
            by,
            sing.encode(sing.bird(3, 4, 350, 700, 2), "FLAC"),
            {},
        ),
        ("frogs", "Rana", "synthetica", "Pulse Frog", by, sing.encode(sing.frog(3, 5, 900, 28), "WAV"), {}),
        ("frogs", "Hyla", "ficta", "Rattle Frog", by, sing.encode(sing.frog(2.5, 6, 2100, 60), "FLAC"), {}),
        (
            "grasshoppers",
            "Gryllus",
            "fictus",
            "Field Cricket",
            by,
            sing.encode(sing.cricket(2, 7, 4800, 3), "WAV"),
            {},
        ),
        (
            "grasshoppers",
            "Oecanthus",
            "fictus",
            "Tree Cricket",
            by,
            sing.encode(sing.cricket(3, 8, 3000, 7), "FLAC"),
            {},
        ),
        (
            "birds",
            "Mystery",
            "mystery",
            "Identity unknown",
            by,
            sing.encode(sing.bird(2, 9, 4000, 7500, 5), "FLAC"),
            {
                "file": "{origin}/900009/download",
                "url": "{origin}/900009",
                "date": "1998-06-00",
                "time": "?",
                "rec": "A. O&#039;Recordist &amp; B. Recordist",
                "loc": "Bois d&amp;#039;Aixe",
                "lat": "91.5",
                "q": "no score",
                "id": 900009,
                "smp": 16000,
                "length": "0:02",
            },
        ),
        (
            "birds",
            "Corvus",
            "nonderivatus",
            "Forbidden Crow",
            "//creativecommons.org/licenses/by-nc-nd/4.0/",
            sing.encode(sing.bird(1, 10, 600, 1200, 3), "FLAC"),
            {},
        ),
        ("birds", "Rarus", "absconditus", "Hidden Parrot", by, None, {"restricted": True}),
        (
            "frogs",
            "Rana",
            "fracta",
            "Broken Frog",
            by,
            sing.encode(sing.frog(1, 11, 900, 30), "WAV")[:20],
            {},
        ),
    ]
    for number, (group, genus, species, name, licence, content, fields) in enumerate(made, 900001):
        suffix = "flac" if content and content[:4] == b"fLaC" else "wav"
        row = {
            "id": str(number),
            "protocol": "xeno_canto",
            "set": group,
            "path": f"sounds/XC{number}.{suffix}" if content else None,
            "media_type": f"audio/{suffix}",
            "title": name,
            "creator": "LUCA contributors",
            "description": "A sound made from a rule; the species is invented.",
            "licence": licence,
            "domain": "biology",
            "modality": "audio",
            "dimension": "perceptual",
            "fields": {"gen": genus, "sp": species, "cnt": "Nowhere", "type": "song"} | fields,
        }
        yield row, content
