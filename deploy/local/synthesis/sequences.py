"""DNA and protein sequences from seeds: coding genes, families, a small phage-like genome."""

from __future__ import annotations

import numpy as np

BASES = "TCAG"
AMINO = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG"
CODONS = [a + b + c for a in BASES for b in BASES for c in BASES]
CODE = dict(zip(CODONS, AMINO, strict=True))
SENSE = [codon for codon in CODONS if CODE[codon] != "*"]

# Amino-acid sequences of well-known peptides: plain facts.
KNOWN_PROTEINS = {
    "Ubiquitin, 76 residues": "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG",
    "Insulin A chain, human": "GIVEQCCTSICSLYQLENYCN",
    "Insulin B chain, human": "FVNQHLCGSHLVEALYLVCGERGFFYTPKT",
    "Glucagon": "HSQGTFTSDYSKYLDSRRAQDFVQWLMNT",
    "Melittin, honey bee": "GIGAVLKVLTTGLPALISWIKRKRQQ",
}


def gene(random: np.random.Generator, codons: int) -> str:
    """An open reading frame: ATG, ``codons`` sense codons with an uneven usage, TAA."""
    usage = random.dirichlet(np.full(len(SENSE), 1.5))
    drawn = random.choice(len(SENSE), codons, p=usage)
    return "ATG" + "".join(SENSE[n] for n in drawn) + "TAA"


def relative(random: np.random.Generator, letters: str, divergence: float) -> str:
    """A copy with point changes in a share ``divergence`` of the positions; the ends are kept."""
    out = list(letters)
    for at in range(3, len(out) - 3):
        if random.random() < divergence:
            out[at] = BASES[int(random.integers(4))]
    return "".join(out)


def phage(random: np.random.Generator, length: int = 5386, genes: int = 11) -> str:
    """A circular-genome-like sequence: genes in a row with short spacers, cut to ``length``."""
    per_gene = length // genes
    parts = []
    for _ in range(genes):
        spacer = "".join(BASES[n] for n in random.integers(0, 4, int(random.integers(8, 40))))
        parts += ["TAAGGAGGTTTTTT", gene(random, (per_gene - 70) // 3), spacer]
    whole = "".join(parts)
    filler = "".join(BASES[n] for n in random.integers(0, 4, max(0, length - len(whole))))
    return (whole + filler)[:length]


def translate(letters: str) -> str:
    """The protein of a reading frame up to its first stop."""
    amino = (CODE[letters[at : at + 3]] for at in range(0, len(letters) - 2, 3))
    return "".join(amino).partition("*")[0]


def fasta(name: str, title: str, letters: str) -> bytes:
    lines = [letters[at : at + 70] for at in range(0, len(letters), 70)]
    return (f">{name} {title}\n" + "\n".join(lines) + "\n").encode()
