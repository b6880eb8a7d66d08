"""What one demo or UI session runs on: which items, which catalogue, which folder for everything it makes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resources.settings import PROJECT, Settings

if TYPE_CHECKING:
    from deploy.local.stand import Upstream

SAMPLE = PROJECT / "deploy" / "local" / "sample"


@dataclass(frozen=True)
class Profile:
    """A folder of items behind the loopback upstream, and the home of what is made from it.

    mapping: dotted module that lists the items of a folder which has no items.jsonl of its own.
    origin: the address that the catalogue names; it is routed to the upstream's loopback port.
    """

    name: str
    items: Path
    mapping: str | None
    origin: str
    home: Path
    catalog: Path

    @property
    def option(self) -> str:
        """What follows `make demo` and its like to mean this profile; nothing for the shipped sample."""
        return "" if self.items == SAMPLE else f" SAMPLE={os.path.relpath(self.items, PROJECT)}"

    @property
    def dagster_home(self) -> Path:
        """Folder of the Dagster instance."""
        return self.home / "dagster"

    @contextmanager
    def upstream(self) -> Iterator[Upstream]:
        """The loopback upstream over the items, for as long as the block lasts."""
        from deploy.local.stand import Upstream

        self.home.mkdir(parents=True, exist_ok=True)
        log = self.home / "upstream.log"
        upstream = (
            Upstream.start(mapping=self.mapping, root=self.items, log=log)
            if self.mapping
            else Upstream.start(self.items, log=log)
        )
        try:
            yield upstream
        finally:
            upstream.stop()

    def activate(self, upstream_url: str) -> Settings:
        """Set the environment for this process and its children; make the Dagster instance ready."""
        os.environ["LUCA_HOME"] = str(self.home)
        os.environ.setdefault("LUCA_CATALOG", str(self.catalog))
        os.environ["LUCA_ROUTES"] = f"{self.origin}={upstream_url}"
        os.environ["DAGSTER_HOME"] = str(self.dagster_home)
        # The upstream asks for a key, as the real Xeno-canto does; any will do on loopback.
        os.environ.setdefault("XENO_CANTO_KEY", "local-demo-key")
        prepare_instance(self.dagster_home)
        return Settings.from_environment()


def prepare_instance(folder: Path) -> None:
    """The instance's configuration, and one slot in the gpu pool: one launched job at a time."""
    import dagster as dg

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(PROJECT / "deploy" / "dagster.yaml", folder / "dagster.yaml")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        instance.event_log_storage.set_concurrency_slots("gpu", 1)


def profile_for(sample: Path | None) -> Profile:
    """The shipped sample, or a folder of real items; ValueError says what a folder must have."""
    home = Settings.from_environment().home
    if sample is None or sample.resolve() == SAMPLE:
        return Profile(
            name="sample",
            items=SAMPLE,
            mapping=None,
            origin="http://sample.luca.test",
            home=home,
            catalog=PROJECT / "deploy" / "local" / "catalog.yaml",
        )
    folder = sample.resolve()
    if (folder / "INDEX.tsv").is_file():
        return Profile(
            name="golden",
            items=folder,
            mapping="tests.golden.mapping",
            origin="http://golden.luca.test",
            home=home / "samples" / "golden",
            catalog=PROJECT / "tests" / "golden" / "catalog.yaml",
        )
    if (folder / "items.jsonl").is_file() and (folder / "catalog.yaml").is_file():
        return Profile(
            name=folder.name,
            items=folder,
            mapping=None,
            origin="http://sample.luca.test",
            home=home / "samples" / folder.name,
            catalog=folder / "catalog.yaml",
        )
    raise ValueError(
        f"{folder}: neither INDEX.tsv (golden items) nor items.jsonl with catalog.yaml is here. "
        "See deploy/local/sample/README.md for how a folder of items looks."
    )
