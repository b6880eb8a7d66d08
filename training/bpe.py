"""Learn byte-pair merges, and keep only those that tiktoken and Hugging Face apply alike.

tiktoken merges *any* neighbours whose joined bytes are a token, lowest rank first; Hugging Face merges
listed pairs, first in the list first. The two agree on every input when each token of two bytes or more,
encoded alone with the tokens of lower rank, falls into exactly two parts: then those two parts are its
only reachable split. (Just before a token's rank is reached, all merges of lower rank are done; a split
of it that stands in some text stands between two boundaries, so its inside was merged as it would be
alone, and alone there is one outcome.) `reachable` drops the candidates without that property, and
`merge_pairs` lists the one split of each that is left.

The merges are counted by the trainer of the `tokenizers` library: ties are broken by pair, so that the
result depends on the texts alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

Merge = tuple[str, str]


def text_tokens(texts: Iterable[str], count: int, pattern: str, max_bytes: int = 24) -> list[bytes]:
    """At most `count` tokens of two bytes or more, learnt over the UTF-8 bytes of the texts, in rank order.

    `pattern` cuts the texts into pieces that no token crosses. Fewer come back when the texts hold no
    more pairs that occur twice.
    """
    from tokenizers import Regex, pre_tokenizers

    byte_of = {char: value for value, char in enumerate(byte_characters())}
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    merges = train(texts, sorted(byte_of), count, splitter, max_bytes)
    return reachable(
        (bytes([value]) for value in range(256)),
        (bytes(byte_of[char] for char in left + right) for left, right in merges),
    )


def letter_tokens(
    sequences: Iterable[str], alphabet: str, count: int, piece: int, max_letters: int = 16
) -> list[str]:
    """At most `count` tokens of two letters or more, learnt over pieces of `piece` letters."""
    from tokenizers import Regex, pre_tokenizers

    splitter = pre_tokenizers.Split(Regex(f".{{1,{piece}}}"), "isolated")
    merges = train(sequences, sorted(alphabet), count, splitter, max_letters)
    learnt = reachable((c.encode() for c in alphabet), ((a + b).encode() for a, b in merges))
    return [token.decode() for token in learnt]


def train(
    texts: Iterable[str], alphabet: Sequence[str], count: int, splitter: Any, max_length: int
) -> list[Merge]:
    """The merges of a BPE trained on the texts, in the order learnt; a pair must occur twice to count."""
    from tokenizers import Tokenizer, models, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = splitter
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + count,
        min_frequency=2,
        show_progress=False,
        special_tokens=[],
        initial_alphabet=list(alphabet),
        limit_alphabet=len(alphabet),
        max_token_length=max_length,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    merges: list[Merge] = [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
    return merges


def reachable(base: Iterable[bytes], candidates: Iterable[bytes]) -> list[bytes]:
    """The candidates, in order, that fall into exactly two parts under the tokens accepted before them."""
    ranks = {token: rank for rank, token in enumerate(base)}
    accepted = []
    for token in candidates:
        if token not in ranks and len(parts(token, ranks)) == 2:
            ranks[token] = len(ranks)
            accepted.append(token)
    return accepted


def merge_pairs(ranks: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """The one split of every token of two bytes or more, by rank; ValueError if one has none."""
    lower: dict[bytes, int] = {}
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            split = parts(token, lower)
            if len(split) != 2:
                raise ValueError(f"token {rank} ({token!r}) cannot be reached by merging two lower tokens")
            yield split[0], split[1]
        lower[token] = rank


def parts(piece: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """The piece merged by rank, leftmost first, as tiktoken does; quadratic, for short pieces."""
    pieces = [piece[i : i + 1] for i in range(len(piece))]
    while len(pieces) > 1:
        joined = (ranks.get(left + right) for left, right in pairwise(pieces))
        found = [(rank, i) for i, rank in enumerate(joined) if rank is not None]
        if not found:
            break
        _, i = min(found)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]
    return pieces


def byte_characters() -> list[str]:
    """The printable character that Hugging Face's ByteLevel writes for each byte (GPT-2's table)."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = (value for value in range(256) if value not in printable)
    stand_in = {value: 0x100 + place for place, value in enumerate(hidden)}
    return [chr(stand_in.get(value, value)) for value in range(256)]
