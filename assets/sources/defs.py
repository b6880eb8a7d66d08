"""Stage `sources`: an asset per enabled catalogue entry, a mirror with a manifest row an item."""

import re
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from assets.materialize import check_specs, publish
from assets.resources import HttpResource, StoreResource
from assets.sources.catalog import Entry, load_catalog
from assets.sources.checks import CHECKS
from assets.sources.describe import describe
from resources.code_version import code_version
from resources.settings import Settings

if TYPE_CHECKING:
    from assets.sources.mirror import Tally
    from resources.store import ArtifactWriter

CODE = ("assets.sources", "assets.tables")
LOG_SECONDS = 5.0
# Warned of when one refresh was missed, failed when two were.
FRESHNESS = {
    "daily": (timedelta(hours=30), timedelta(hours=54)),
    "weekly": (timedelta(days=8), timedelta(days=15)),
    "monthly": (timedelta(days=33), timedelta(days=64)),
}


def stage_definitions(settings: Settings) -> dg.Definitions:
    """Assets sources/<entry>. Raises CatalogError naming file, entry and field."""
    entries = [entry for entry in load_catalog(settings.catalog) if entry.enabled]
    return dg.Definitions(assets=[source_asset(entry) for entry in entries])


def pool_of(entry: Entry) -> str:
    """One pool per upstream host, so that an operator can bound it; the rate is kept by the HTTP client."""
    return "upstream_" + re.sub(r"[^A-Za-z0-9]+", "_", entry.host)


def source_asset(entry: Entry) -> dg.AssetsDefinition:
    """The asset of one entry."""
    key = ["sources", entry.name]
    name = "/".join(key)
    code = code_version(*CODE)
    warn, fail = FRESHNESS[entry.cadence]

    @dg.asset(
        key=key,
        group_name="sources",
        description=f"{entry.title}. {entry.reason}",
        kinds={entry.protocol, entry.modality},
        owners=["team:data-engineering"],
        tags={"tier": entry.tier, "domain": entry.domain, "cadence": entry.cadence},
        metadata={
            "upstream": entry.base_url,
            "citation": entry.citation,
            "attribution": entry.attribution,
            "contact": entry.contact,
            "licence_rule": entry.licence.rule,
            "licence_evidence": entry.licence.evidence,
        },
        pool=pool_of(entry),
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=warn),
        check_specs=check_specs(key, CHECKS),
        code_version=code,
    )
    def source(
        context: dg.AssetExecutionContext, store: StoreResource, http: HttpResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        from assets.sources.mirror import SourceUnavailable, mirror, parameters_of

        opened = store.open()
        previous = opened.head(name)
        log = BoundedLog(context, entry.name)

        def build(writer: "ArtifactWriter") -> None:
            summary = mirror(entry, http.client(), opened, previous, writer, log.progress)
            context.log.info(
                f"{entry.name}: {summary.rows:,} items ({counted(summary.statuses)}); "
                f"this time {counted(summary.outcomes) or 'nothing new'}; {summary.requests} requests, "
                f"{summary.bytes_transferred:,} bytes, {summary.seconds} s"
            )
            if summary.left_out:
                context.log.warning(
                    f"{entry.name}: limits.items {entry.limits.items:,} reached; at least "
                    f"{summary.left_out:,} items left out"
                )

        try:
            result = publish(
                context,
                opened,
                name,
                inputs={},
                parameters=parameters_of(entry),
                code=code,
                build=build,
                describe=describe,
                checks=CHECKS,
                # Only upstream knows whether something changed; equal content gives the equal version.
                use_cache=False,
            )
        except SourceUnavailable as error:
            raise dg.Failure(
                str(error), metadata={"entry": entry.name, "upstream": entry.base_url}
            ) from error
        version = result.data_version.value if result.data_version else ""
        unchanged = previous is not None and previous.version == version
        return result._replace(metadata={**(result.metadata or {}), "reused": unchanged})

    return source


def counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


class BoundedLog:
    """Progress in Dagster's log, a line every few seconds at most: it is slow at logging."""

    def __init__(self, context: dg.AssetExecutionContext, name: str) -> None:
        self.context, self.name = context, name
        self.started = self.last = time.monotonic()

    def progress(self, tally: "Tally") -> None:
        now = time.monotonic()
        if now - self.last < LOG_SECONDS:
            return
        self.last = now
        rate = tally.bytes / max(now - self.started, 1e-3) / 1e6
        self.context.log.info(
            f"{self.name}: {tally.done:,} of {tally.listed:,} listed items, "
            f"{tally.bytes / 1e6:,.1f} MB at {rate:.1f} MB/s"
        )
