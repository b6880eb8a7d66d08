"""Assets documents/<entry>, a table per source in one schema, and documents/unique across them."""

# Dagster reads the annotations of asset functions as objects: no postponed annotations in this file.
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.documents.checks import DOCUMENT_CHECKS, UNIQUE_CHECKS
from assets.documents.describe import describe_documents, describe_unique
from assets.materialize import check_specs, publish, require
from assets.resources import ComputeResource, StoreResource
from assets.sources.catalog import Entry, load_catalog
from resources.code_version import code_version
from resources.settings import Settings

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import ArtifactWriter, Store

STAGE = "documents"
OWNERS = ["team:data-engineering"]
_LOG_SECONDS = 10.0
_TIERS = {"canonical": 0, "long_tail": 1}
_READING = tuple(
    f"assets.documents.{m}"
    for m in ("build", "clean", "dispatch", "encoding", "language", "parts", "readers", "schema", "split")
)
_COMPARING = tuple(f"assets.documents.{m}" for m in ("dedup", "schema", "shingles"))


def stage_definitions(settings: Settings) -> dg.Definitions:
    """The documents stage for the enabled entries of the catalogue."""
    entries = [entry for entry in load_catalog(settings.catalog) if entry.enabled]
    for entry in entries:
        if entry.name == "unique":
            raise ValueError(
                f"{settings.catalog}: entry 'unique': field 'name': documents/unique is the table of "
                "duplicates. Give the entry another name."
            )
    return dg.Definitions(assets=[*map(_documents_asset, entries), _unique_asset(entries)])


def _documents_asset(entry: Entry) -> dg.AssetsDefinition:
    key = [STAGE, entry.name]
    code = code_version(*_READING, "assets.tables")

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(["sources", entry.name])],
        group_name=STAGE,
        kinds={"parquet", entry.modality},
        owners=OWNERS,
        tags={"domain": entry.domain, "tier": entry.tier},
        description=(
            f"{entry.title}: its live items that may be trained on, read into the one documents schema. "
            "What could not or must not be read is listed with its reason."
        ),
        code_version=code,
        check_specs=check_specs(key, DOCUMENT_CHECKS),
    )
    def documents(
        context: dg.AssetExecutionContext, store: StoreResource, compute: ComputeResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        opened = store.open()
        source = require(context, opened, f"sources/{entry.name}")

        def build(writer: "ArtifactWriter") -> None:
            from assets.documents.build import build_documents

            progress = _progress(context, f"{STAGE}/{entry.name}")
            build_documents(opened, source, entry.name, compute.open(), writer, progress)

        return publish(
            context,
            opened,
            f"{STAGE}/{entry.name}",
            inputs={source.name: source},
            parameters={"libraries": _library_versions()},
            code=code,
            build=build,
            describe=describe_documents,
            checks=DOCUMENT_CHECKS,
        )

    return documents


def _unique_asset(entries: list[Entry]) -> dg.AssetsDefinition:
    key = [STAGE, "unique"]
    code = code_version(*_COMPARING, "assets.tables")
    tiers = {entry.name: _TIERS[entry.tier] for entry in entries}

    @dg.asset(
        key=key,
        deps=[dg.AssetKey([STAGE, entry.name]) for entry in entries],
        group_name=STAGE,
        kinds={"parquet"},
        owners=OWNERS,
        description=(
            "Which documents are kept: exact duplicates by content, near-duplicates by MinHash with every "
            "candidate pair verified on its texts. Canonical sources are kept before the long tail."
        ),
        code_version=code,
        check_specs=check_specs(key, UNIQUE_CHECKS),
    )
    def unique(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        opened = store.open()
        inputs = {f"{STAGE}/{e.name}": require(context, opened, f"{STAGE}/{e.name}") for e in entries}

        def build(writer: "ArtifactWriter") -> None:
            from assets.documents.dedup import find_duplicates
            from assets.documents.schema import DECISIONS
            from assets.tables import write_table

            found = find_duplicates(lambda: _all_rows(opened, inputs), tiers, note=context.log.info)
            with writer.open("decisions.parquet") as sink:
                write_table(sink, DECISIONS, found.rows(), ("document_id",))
            writer.figures["candidate_pairs"] = found.candidates
            writer.figures["verified_pairs"] = found.verified

        return publish(
            context,
            opened,
            f"{STAGE}/unique",
            inputs=inputs,
            parameters={"tiers": tiers},
            code=code,
            build=build,
            describe=describe_unique,
            checks=UNIQUE_CHECKS,
        )

    return unique


def _all_rows(store: "Store", inputs: "dict[str, Manifest]") -> Iterator[dict[str, Any]]:
    from assets.tables import read_rows

    columns = ["document_id", "source", "kind", "modality", "text", "content_sha256"]
    for _, manifest in sorted(inputs.items()):
        with store.open_file(manifest, "documents.parquet") as file:
            yield from read_rows(file, columns)


def _progress(context: dg.AssetExecutionContext, name: str) -> Callable[[int, int], None]:
    """Log how many items are read, at most every ten seconds: each line costs the instance 10 ms."""
    last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _LOG_SECONDS:
            last = time.monotonic()
            context.log.info(f"{name}: {done} of {total} items")

    return progress


def _library_versions() -> dict[str, str]:
    """Libraries whose release may change what is read out of the same bytes."""
    from importlib.metadata import version

    names = (
        "ftfy",
        "lxml",
        "pillow",
        "pyarrow",
        "pypdfium2",
        "rapidocr",
        "resiliparse",
        "scipy",
        "soundfile",
    )
    return {name: version(name) for name in names}
