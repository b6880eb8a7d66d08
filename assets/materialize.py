"""The body of every asset: adopt what the store holds under the key, else build, check, promote.

An artifact is published first and promoted to HEAD only when its blocking checks pass; until then it
is *held*, and `require` refuses to hand it, or anything older, to what depends on it. So a blocking
check holds across runs too, and with nothing but the store.

Checks are pure functions of the published artifact and run in the asset's own step: a step of its own
would cost two CPU-seconds of start-up for each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import ArtifactWriter, Store


@dataclass(frozen=True)
class Verdict:
    """What a check found: passed or not, in a sentence, with figures for the UI."""

    passed: bool
    description: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


Check = Callable[["Store", "Manifest"], Verdict]
Describe = Callable[["Store", "Manifest"], Mapping[str, Any]]
Build = Callable[["ArtifactWriter"], None]


def check_specs(key: Sequence[str], checks: Mapping[str, Check]) -> list[dg.AssetCheckSpec]:
    """Blocking check specs for ``@asset(check_specs=…)``; the docstring's first line describes each."""
    return [
        dg.AssetCheckSpec(
            name=name,
            asset=dg.AssetKey(list(key)),
            blocking=True,
            description=(check.__doc__ or name).strip().splitlines()[0],
        )
        for name, check in checks.items()
    ]


def require(context: dg.AssetExecutionContext, store: Store, name: str) -> Manifest:
    """The current artifact of an input; dg.Failure if there is none or if a blocking check holds it."""
    held = store.held(name)
    if held is not None:
        raise dg.Failure(
            f"{name} is held: version {held['version']} failed {', '.join(held['checks'])}. "
            f"Mend its cause and materialize {name} again.",
            allow_retries=False,
        )
    manifest = store.head(name)
    if manifest is None:
        raise dg.Failure(f"{name} is not in {store.uri}. Materialize it first.", allow_retries=False)
    return manifest


def publish(
    context: dg.AssetExecutionContext,
    store: Store,
    name: str,
    *,
    inputs: Mapping[str, Manifest],
    parameters: Mapping[str, Any],
    code: str,
    build: Build,
    describe: Describe,
    checks: Mapping[str, Check] | None = None,
    use_cache: bool = True,
) -> dg.MaterializeResult[Any]:
    """Adopt the artifact built under this key, or build it with `build(writer)`; then check and promote.

    `use_cache=False` is for assets that must ask the outside world each time (sources): equal content
    still gives the equal version.
    """
    from resources.manifest import artifact_key
    from resources.memory import PeakMemory

    versions = {m.name: m.version for m in inputs.values()}
    key = artifact_key(name, versions, parameters, code)
    started = time.monotonic()
    manifest = store.cached(name, key) if use_cache else None
    reused = manifest is not None
    if manifest is None:
        with (
            PeakMemory() as memory,
            store.writer(
                name,
                inputs=versions,
                parameters=parameters,
                code_version=code,
                key=key,
                run={"dagster_run_id": context.run_id},
                promote=False,
            ) as writer,
        ):
            build(writer)
            writer.figures.setdefault("seconds", round(time.monotonic() - started, 3))
            writer.figures.setdefault("peak_memory_bytes", memory.sample())
        manifest = writer.manifest
    return settle(context, store, manifest, describe=describe, checks=checks or {}, reused=reused)


def settle(
    context: dg.AssetExecutionContext,
    store: Store,
    manifest: Manifest,
    *,
    describe: Describe,
    checks: Mapping[str, Check],
    reused: bool,
) -> dg.MaterializeResult[Any]:
    """Run the checks on a published artifact, promote or hold it, and say what the UI shows."""
    asset_key = asset_key_of(context, manifest.name)
    results = []
    failed = []
    for check_name, check in checks.items():
        verdict = check(store, manifest)
        if not verdict.passed:
            failed.append(check_name)
        results.append(
            dg.AssetCheckResult(
                passed=verdict.passed,
                asset_key=asset_key,
                check_name=check_name,
                description=verdict.description or None,
                metadata=dict(verdict.metadata),
            )
        )
    if failed:
        store.hold(manifest, failed)
        context.log.error(f"{manifest.name} {manifest.version} is held: failed {', '.join(failed)}")
    else:
        store.adopt(manifest)
    context.log.info(
        f"{manifest.name} {manifest.version}: {'unchanged, adopted' if reused else 'built'}, "
        f"{manifest.bytes:,} bytes"
    )
    return dg.MaterializeResult(
        asset_key=asset_key,
        data_version=dg.DataVersion(manifest.version),
        metadata={**standard_metadata(manifest, reused), **describe(store, manifest)},
        check_results=results,
    )


def standard_metadata(manifest: Manifest, reused: bool) -> dict[str, Any]:
    """What every asset's page shows: where, how big, from what, made or adopted, time and memory."""
    figures = manifest.figures
    metadata: dict[str, Any] = {
        "dagster/uri": manifest.uri,
        "version": manifest.version,
        "key": manifest.key or "",
        "reused": reused,
        "bytes": manifest.bytes,
        "files": len(manifest.files),
        "inputs": dg.MetadataValue.json(dict(manifest.inputs)),
    }
    if "seconds" in figures:
        metadata["seconds"] = float(figures["seconds"])
    if "peak_memory_bytes" in figures:
        metadata["peak_memory_mib"] = round(int(figures["peak_memory_bytes"]) / 2**20, 1)
    return metadata


def asset_key_of(context: dg.AssetExecutionContext, name: str) -> dg.AssetKey:
    """``checkpoints/pretrained/tiny`` in partition ``tiny`` is the asset checkpoints/pretrained."""
    parts = name.split("/")
    if context.has_partition_key and parts[-1] == context.partition_key:
        parts = parts[:-1]
    return dg.AssetKey(parts)
