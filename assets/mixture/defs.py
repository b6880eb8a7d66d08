"""Asset mixture/plan: how much of what a model is trained on, and what it never sees."""

# Dagster reads the annotations of asset functions as objects: no postponed annotations in this file.
from typing import TYPE_CHECKING

import dagster as dg

from assets.materialize import check_specs, publish, require
from assets.mixture.checks import CHECKS
from assets.mixture.config import load_mixture
from assets.mixture.describe import describe_plan
from assets.resources import StoreResource
from assets.sources.catalog import load_catalog
from resources.code_version import code_version
from resources.settings import Settings

if TYPE_CHECKING:
    from resources.store import ArtifactWriter

KEY = ["mixture", "plan"]
_CODE = tuple(f"assets.mixture.{m}" for m in ("build", "config", "plan", "report", "statistics", "weights"))


def stage_definitions(settings: Settings) -> dg.Definitions:
    """The mixture stage over the enabled entries of the catalogue."""
    names = [f"documents/{entry.name}" for entry in load_catalog(settings.catalog) if entry.enabled]
    code = code_version(*_CODE, "assets.tables")
    # Checked when the location loads, so that a mistake shows before anything runs; read again when it runs.
    load_mixture(settings.mixture)

    @dg.asset(
        key=KEY,
        deps=[dg.AssetKey(["documents", "unique"]), *(dg.AssetKey(name.split("/")) for name in names)],
        group_name=KEY[0],
        kinds={"parquet", "markdown"},
        owners=["team:data-engineering"],
        description=(
            "Weights of the strata between floors, caps and the repetition limit, and the held-out split by "
            "cluster of near-duplicates; with a README that says what was trimmed or boosted, and why."
        ),
        code_version=code,
        check_specs=check_specs(KEY, CHECKS),
    )
    def plan(context: dg.AssetExecutionContext, store: StoreResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
        opened = store.open()
        config = load_mixture(settings.mixture)
        unique = require(context, opened, "documents/unique")
        tables = {name: require(context, opened, name) for name in names}
        stale = sorted(n for n, m in tables.items() if unique.inputs.get(n) != m.version)
        if stale:
            raise dg.Failure(
                f"documents/unique was made from other versions of {', '.join(stale)}. "
                "Materialize documents/unique again.",
                allow_retries=False,
            )

        def build(writer: "ArtifactWriter") -> None:
            from assets.mixture.build import build_plan

            build_plan(opened, unique, tables, config, writer)

        return publish(
            context,
            opened,
            "mixture/plan",
            inputs={unique.name: unique, **tables},
            parameters=config.model_dump(mode="json"),
            code=code,
            build=build,
            describe=describe_plan,
            checks=CHECKS,
        )

    return dg.Definitions(assets=[plan])
