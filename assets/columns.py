"""What each column of the published tables means, as the UI shows it beside the schema.

Apart from the schemas, so that better words never change a code version and rebuild nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    import pyarrow as pa

SHARED = {
    "source": "Entry of the catalogue that it comes from",
    "title": "Title, as upstream states it",
    "url": "Address of the item upstream",
    "media_type": "Media type, as the listing states it, else the server",
    "modality": "text, dna, protein, image or audio",
    "domain": "biology, philosophy, astrobiology, alife or synbio",
    "dimension": "factual, conceptual, ethical, perceptual or conversational",
    "language": "BCP 47 tag of the language",
    "region": "Region of the world that it comes from or speaks of; global if none",
    "tradition": "School of thought; none if it belongs to none",
    "licence": "SPDX identifier of the licence; null if none that we know was stated",
    "attribution": "Whom to name when it is used",
}

ITEM_COLUMNS = {
    **SHARED,
    "item_id": "The entry, /, the id upstream",
    "upstream_version": "Version or revision that upstream gives it",
    "etag": "HTTP ETag: the next refresh asks whether it still holds",
    "last_modified": "HTTP Last-Modified, for the same use",
    "datestamp": "Last change according to upstream",
    "sha256": "SHA-256 of the bytes, under which they stand in the store; only of live items",
    "bytes": "Size of the item",
    "modality": "text, dna, protein, image, audio or dialogue",
    "licence_stated": "Licence word for word, as upstream stated it at retrieval",
    "may_mirror": "The rights gate allows keeping a copy",
    "may_train": "The rights gate allows training on it",
    "may_republish": "The rights gate allows passing it on",
    "status": "live, gone (deleted upstream), denied, damaged, or excluded (by its rights)",
    "reason": "Why it is not live",
    "metadata": "What only this protocol knows, as JSON",
}

DOCUMENT_COLUMNS = {
    **SHARED,
    "document_id": "The item's id, #, the part's number",
    "item_id": "Source item that it was read from",
    "kind": "document or dialogue",
    "text": "Clean text; letters of dna and protein; null for image and audio",
    "messages": "Turns of a dialogue, each with role and content; null for documents",
    "payload_sha256": "Object in the store with the normalised picture or sound",
    "payload_media_type": "image/png or audio/flac",
    "raw_sha256": "Object in the store with the item as it was fetched",
    "content_sha256": "Digest of the content alone: equal for exact duplicates",
    "characters": "Length of text; 0 without text",
    "quality": "Figures about the content and its cleaning, as JSON",
}

DECISION_COLUMNS = {
    **SHARED,
    "document_id": "The document that is judged",
    "keep": "Whether it goes on to the mixture",
    "reason": "exact_duplicate or near_duplicate; null if kept",
    "duplicate_of": "The document that is kept in its place",
    "similarity": "Jaccard similarity to that document's shingles; 1 if exact",
    "cluster": "Document that leads its group of duplicates; itself if it has none",
}

PLAN_COLUMNS = {
    **SHARED,
    "document_id": "A kept document",
    "stratum": "MODALITY/DOMAIN, or dialogue/DOMAIN: what weights are given to",
    "split": "train, or heldout: evaluated on, never trained on",
    "cluster": "Group of duplicates: all of a group go to one split",
}

WINDOW_COLUMNS = {
    "window": "Number of the window, from 0",
    "shard": "The tar file that holds it",
    "member": "Member of the tar: an .npy array of windows x length",
    "offset": "Byte in the tar at which the window's ids begin",
    "length": "Tokens before the padding",
    "stratum": "MODALITY/DOMAIN, or dialogue/DOMAIN",
    "document_ids": "Documents in the window, in order",
    "starts": "First token of each of them in the window",
    "ends": "Token after its last one in the window",
    "document_offsets": "Which token of the document the window begins it with",
}

TRACE_COLUMNS = {
    **{name: SHARED[name] for name in ("source", "title", "url", "licence", "attribution", "modality")},
    "document_id": "A document that was trained on",
    "item_id": "Source item that it was read from",
    "kind": "document or dialogue",
    "start": "First byte of its text in text.bin",
    "end": "Byte after its last one",
}

# Tables that are not Parquet: name -> (type, meaning).

TOKEN_COLUMNS = {
    "bytes": (
        "base64",
        "Bytes that the token stands for; control tokens stand for none",
    ),
    "id": ("int64", "Id of the token; of two merges that fit, the lower id goes first"),
}

STEP_COLUMNS = {
    "step": ("int64", "Step of the optimizer, from 1"),
    "loss": ("float64", "Mean loss of the batch, nats a target token; null if not finite"),
    "strata": ("object", "The same for each stratum in the batch"),
    "grad_norm": ("float64", "Norm of the gradient before clipping; null if not finite"),
    "learning_rate": ("float64", "Learning rate of the step"),
    "targets": ("int64", "Tokens that the loss was taken on"),
    "skipped": ("bool", "True if the step was left out, for a loss or gradient that is not finite"),
    "quarantined": ("array of int64", "Windows of a skipped step whose loss is not finite, else all of them"),
}

PERPLEXITY_COLUMNS = {
    "stratum": ("string", "Stratum of the held-out windows; all: every one"),
    "windows": ("int64", "Held-out windows that were scored"),
    "targets": ("int64", "Tokens that the loss was taken on"),
    "loss": ("float64", "Mean loss, nats a token"),
    "loss_low": ("float64", "Lower end of its 95% bootstrap interval"),
    "loss_high": ("float64", "Upper end of its 95% bootstrap interval"),
    "perplexity": ("float64", "e to the loss"),
    "bits_per_byte": ("float64", "Loss in bits for each byte of text; null where there is no text"),
    "uniform_loss": ("float64", "Loss of a guess that takes every token for equally likely"),
}


def plain_schema(columns: Mapping[str, tuple[str, str]]) -> dg.TableSchema:
    """The schema of a table that is not Parquet."""
    return dg.TableSchema(
        columns=[dg.TableColumn(name, kind, description=said) for name, (kind, said) in columns.items()]
    )


def table_schema(schema: pa.Schema, meanings: Mapping[str, str]) -> dg.TableSchema:
    """An Arrow schema as Dagster shows it, a description a column; KeyError for a column without one."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                field.name,
                str(field.type),
                description=meanings[field.name],
                constraints=dg.TableColumnConstraints(nullable=field.nullable),
            )
            for field in schema
        ]
    )
