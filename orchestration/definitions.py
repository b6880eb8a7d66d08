"""The code location that Dagster loads: `defs`. Everything is put together in build.py."""

from orchestration.build import build_defs

defs = build_defs()
