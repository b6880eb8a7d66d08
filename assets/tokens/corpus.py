"""What the vocabulary learns from: the planned training documents, held-out ones never."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assets.tokens.config import VocabularyConfig
from assets.tokens.planned import DIALOGUE, PlannedDocuments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from training.vocabulary_build import Corpus


@dataclass(frozen=True)
class TrainingCorpus:
    """Streams each modality's documents, thinned to the configured number of characters."""

    documents: PlannedDocuments
    config: VocabularyConfig

    def corpus(self) -> Corpus:
        """Iterators for `build_vocabulary`."""
        from training.vocabulary_build import Corpus

        return Corpus(
            text=self.texts("text"),
            dna=self.texts("dna"),
            protein=self.texts("protein"),
            image=self.images(),
            audio=self.sounds(),
        )

    def strata(self, modality: str) -> list[str]:
        """The strata of a modality; dialogues are text."""
        names = [n for n in self.documents.strata if n.startswith(f"{modality}/")]
        return names + [n for n in self.documents.strata if n.startswith(DIALOGUE) and modality == "text"]

    def texts(self, modality: str) -> Iterator[str]:
        """Texts or letters; of a dialogue, each message."""
        share = self.share(modality)
        limit = self.config.learn_characters_of_document
        for stratum in self.strata(modality):
            for row in self.documents.rows(stratum, ["text", "messages", "kind"]):
                if not chosen(row["document_id"], share):
                    continue
                if row["kind"] == "dialogue":
                    yield from (message["content"][:limit] for message in row["messages"] or [])
                elif row["text"]:
                    yield row["text"][:limit]

    def share(self, modality: str) -> float:
        """Of the modality's documents, how many are learnt from: 1 until learn_characters is passed."""
        limit = self.config.learn_characters_of_document
        total = sum(
            min(row["characters"], limit)
            for stratum in self.strata(modality)
            for row in self.documents.rows(stratum, ["characters"])
        )
        return min(1.0, self.config.learn_characters / total) if total else 1.0

    def images(self) -> Iterator[NDArray[np.uint8]]:
        """Pixels of every image that opens; a damaged one is rejected, and listed, by the shards."""
        from training.encode import Unencodable, image_pixels

        for row in self.payload_rows("image"):
            try:
                yield image_pixels(self.documents.store.read_object(row["payload_sha256"]))
            except Unencodable:
                continue

    def sounds(self) -> Iterator[tuple[NDArray[np.float32], int]]:
        """Samples and rate of every recording that opens."""
        from training.encode import Unencodable, audio_samples

        for row in self.payload_rows("audio"):
            try:
                yield audio_samples(self.documents.store.read_object(row["payload_sha256"]))
            except Unencodable:
                continue

    def payload_rows(self, modality: str) -> Iterator[dict[str, Any]]:
        """Rows with a payload."""
        for stratum in self.strata(modality):
            for row in self.documents.rows(stratum, ["payload_sha256"]):
                if row["payload_sha256"]:
                    yield row


def chosen(document_id: str, share: float) -> bool:
    """Whether a document is among the `share` that is learnt from: by its id, so the choice is stable."""
    return int.from_bytes(hashlib.sha256(document_id.encode()).digest()[:8], "big") < share * 2**64
