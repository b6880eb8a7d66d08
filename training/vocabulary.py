"""One vocabulary for every modality: text, DNA, protein, images, audio and control tokens.

A byte-level BPE run by tiktoken. Ids, in order: the 256 bytes, glue, text, dna, protein, image, audio,
control; each modality's ids are contiguous (`Vocabulary.ranges`). Lifted characters (see alphabets.py)
keep the modalities apart, and control tokens are never parsed from text, so text can forge neither.
`vocabulary_build.py` makes it, `hf_tokenizer.py` writes the same for Hugging Face and vLLM.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.alphabets import LETTERS, PATTERN, ROLES, lift_sequence, lowered, without_lifted
from training.codebooks import ImageShape, audio_frames, image_patches, quantise

if TYPE_CHECKING:
    import tiktoken

    from resources.manifest import Manifest
    from resources.store import Store

JSON_FILE = "vocabulary.json"
RANKS_FILE = "vocabulary.tiktoken"
CODEBOOKS_FILE = "codebooks.npz"
FILES = (JSON_FILE, RANKS_FILE, CODEBOOKS_FILE)


@dataclass(frozen=True)
class Vocabulary:
    """Encodes and decodes; immutable. `ranks` maps a token's bytes to its id, control tokens excepted."""

    ranks: Mapping[bytes, int]
    ranges: Mapping[str, range]
    control: Mapping[str, int]
    image_codebook: NDArray[np.uint8]  # [codes, 192]
    audio_codebook: NDArray[np.uint8]  # [codes, 64]
    image_shape: ImageShape

    @classmethod
    def load(cls, folder: Path) -> Vocabulary:
        """From a folder with the artifact's files; FileNotFoundError or ValueError names the file."""
        return cls.from_files({name: (folder / name).read_bytes() for name in FILES})

    @classmethod
    def from_store(cls, store: Store, manifest: Manifest) -> Vocabulary:
        """From a `tokens/vocabulary` artifact."""
        return cls.from_files({name: store.read_file(manifest, name) for name in FILES})

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Vocabulary:
        """From the bytes of vocabulary.json, vocabulary.tiktoken and codebooks.npz."""
        stated = json.loads(files[JSON_FILE])
        if stated.get("pattern") != PATTERN:
            raise ValueError(
                f"{JSON_FILE}: field pattern is not this version's: materialize tokens/vocabulary again"
            )
        codebooks = np.load(io.BytesIO(files[CODEBOOKS_FILE]), allow_pickle=False)
        return cls(
            ranks=parse_ranks(files[RANKS_FILE]),
            ranges={name: range(*ends) for name, ends in stated["ranges"].items()},
            control=stated["control"],
            image_codebook=codebooks["image"],
            audio_codebook=codebooks["audio"],
            image_shape=ImageShape(side=stated["image"]["side"]),
        )

    @property
    def size(self) -> int:
        """Number of ids: they are 0 … size - 1."""
        return len(self.ranks) + len(self.control)

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """The smallest of uint16 and uint32 that holds every id."""
        return np.uint16 if self.size <= 0x10000 else np.uint32

    @cached_property
    def encoding(self) -> tiktoken.Encoding:
        """The tiktoken encoding; control tokens are its special tokens."""
        import tiktoken

        return tiktoken.Encoding(
            "luca", pat_str=PATTERN, mergeable_ranks=dict(self.ranks), special_tokens=dict(self.control)
        )

    @cached_property
    def bytes_of(self) -> list[bytes]:
        """Bytes of each token by id; a control token's are those of its name."""
        table = [b""] * self.size
        for token, number in self.ranks.items():
            table[number] = token
        for name, number in self.control.items():
            table[number] = name.encode()
        return table

    @cached_property
    def text_bytes(self) -> NDArray[np.int64]:
        """int64[size]: how many bytes of a document's text a token stands for.

        A sequence token: its letters. Codes and control tokens stand for no text: 0.
        """
        lengths = np.array([len(token) for token in self.bytes_of], np.int64)
        for name, numbers in self.ranges.items():
            part = slice(numbers.start, numbers.stop)
            if name in LETTERS:
                lengths[part] //= 4
            elif name in ("glue", "image", "audio", "control"):
                lengths[part] = 0
        return lengths

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token; ValueError outside 0 … size - 1."""
        if not 0 <= token < self.size:
            raise ValueError(f"token {token} is outside 0..{self.size - 1}")
        return self.bytes_of[token]

    def encode_text(self, text: str) -> list[int]:
        """Ids of a text: never a control token, never another modality's (see `without_lifted`)."""
        try:
            return self.encoding.encode_ordinary(without_lifted(text))
        except BaseException as error:
            # A run of several hundred thousand spaces overflows the engine of the pattern, in Rust: a panic.
            if type(error).__name__ != "PanicException":
                raise
            raise ValueError(f"a text of {len(text):,} characters that cannot be cut into pieces") from None

    def encode_sequence(self, kind: str, letters: str) -> list[int]:
        """Ids of letters of "dna" or "protein" between control tokens; ValueError at a foreign letter."""
        lifted = self.encoding.encode_ordinary(lift_sequence(kind, letters))
        return [self.control[f"<|{kind}|>"], *lifted, self.control[f"<|/{kind}|>"]]

    def encode_image(self, pixels: NDArray[np.uint8]) -> list[int]:
        """Ids of an RGB image uint8[h, w, 3]: a code a patch, every row closed by <|row|>."""
        patches = image_patches(pixels, self.image_shape)
        rows, columns, width = patches.shape
        codes = quantise(patches.reshape(rows * columns, width), self.image_codebook)
        grid = np.full((rows, columns + 1), self.control["<|row|>"], np.int64)
        grid[:, :-1] = codes.reshape(rows, columns) + self.ranges["image"].start
        return [self.control["<|image|>"], *grid.ravel().tolist(), self.control["<|/image|>"]]

    def encode_audio(self, samples: NDArray[np.float32], rate: int) -> list[int]:
        """Ids of one-channel audio float32[n] at `rate` Hz: a code every 20 ms."""
        codes = quantise(audio_frames(samples, rate), self.audio_codebook)
        numbers = (codes + self.ranges["audio"].start).tolist()
        return [self.control["<|audio|>"], *numbers, self.control["<|/audio|>"]]

    def encode_messages(
        self, messages: Iterable[Mapping[str, str]], add_generation_prompt: bool = False
    ) -> list[int]:
        """Ids of a dialogue: <|role|> content <|end_of_turn|> …, then <|assistant|> to ask for an answer.

        `messages` are {"role": system, user or assistant, "content": text}; ValueError names a bad one.
        """
        ids: list[int] = []
        for place, message in enumerate(messages):
            role, content = message.get("role"), message.get("content")
            if role not in ROLES:
                raise ValueError(f"messages[{place}].role is {role!r}; it must be one of {', '.join(ROLES)}")
            if not isinstance(content, str):
                raise ValueError(f"messages[{place}].content must be text, it is {type(content).__name__}")
            ids.append(self.control[f"<|{role}|>"])
            ids.extend(self.encode_text(content))
            ids.append(self.control["<|end_of_turn|>"])
        if add_generation_prompt:
            ids.append(self.control["<|assistant|>"])
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """For people: text and letters as they were, control tokens by name, codes as ⟨number⟩."""
        text = b"".join(self.token_bytes(int(i)) for i in ids).decode(errors="replace")
        return lowered(text)


def format_ranks(ranks: Mapping[bytes, int]) -> bytes:
    """tiktoken's file format: a line of base64 bytes, a space and the id, by id."""
    lines = sorted((rank, base64.b64encode(token).decode()) for token, rank in ranks.items())
    return "".join(f"{token} {rank}\n" for rank, token in lines).encode()


def parse_ranks(content: bytes) -> dict[bytes, int]:
    """The reverse of `format_ranks`; ValueError if the ids are not 0 … n - 1 or a line is no rank."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(content.splitlines()):
        try:
            token, rank = line.split(b" ")
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except ValueError as error:
            raise ValueError(f"{RANKS_FILE}: line {number + 1} is not 'BASE64 RANK'") from error
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise ValueError(f"{RANKS_FILE}: the ranks are not 0 to {len(ranks) - 1}, each once")
    return ranks
