"""What every launched program shares: its specification, its progress, its store.

A program gets one argument, the job's folder. `spec.json` there says what to build from what;
`progress.json` is rewritten atomically as the work goes on.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from resources.manifest import Manifest
    from resources.store import ArtifactWriter, Store


class JobError(RuntimeError):
    """A job that cannot start or go on; the message names the file, the field and the mend."""


@dataclass(frozen=True)
class JobSpec:
    """One job's specification: build `artifact` under `key` in `store` from `inputs` (name to version)."""

    folder: Path
    store: str
    artifact: str
    key: str
    inputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    code_version: str
    run: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> JobSpec:
        """Read `folder/spec.json`; raises JobError naming the file and the field."""
        path = folder / "spec.json"
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise JobError(f"{path}: missing; start the program with the folder of a submitted job") from None
        except ValueError as error:
            raise JobError(f"{path}: not JSON: {error}") from None
        types = {"store": str, "artifact": str, "key": str, "inputs": dict, "parameters": dict}
        for field, kind in types.items():
            if not isinstance(raw, dict) or not isinstance(raw.get(field), kind):
                raise JobError(f"{path}: {field}: must be given, as {kind.__name__}")
        return cls(
            folder=folder,
            store=raw["store"],
            artifact=raw["artifact"],
            key=raw["key"],
            inputs=raw["inputs"],
            parameters=raw["parameters"],
            code_version=raw.get("code_version", ""),
            run=raw.get("run") or {},
        )

    def open_store(self) -> Store:
        from resources.store import Store

        return Store.open(self.store)

    def input(self, store: Store, name: str) -> Manifest:
        """The input whose name is `name`, or begins with it and a slash (`checkpoints/pretrained` finds
        `checkpoints/pretrained/tiny`); raises JobError if it was not given or is not in the store."""
        found = sorted(given for given in self.inputs if given == name or given.startswith(name + "/"))
        if len(found) != 1:
            raise JobError(
                f"{self.folder / 'spec.json'}: inputs: needs exactly one {name}, "
                f"has {', '.join(found) or 'none'}"
            )
        manifest = store.get(found[0], self.inputs[found[0]])
        if manifest is None:
            raise JobError(
                f"{store.uri}: {found[0]} {self.inputs[found[0]]} is not there; materialize it again"
            )
        return manifest

    def writer(self, store: Store) -> ArtifactWriter:
        """The writer that publishes this job's artifact under its key.

        Its figures say how long this process has run, and the most memory that it and its like (one a
        rank) held, if all held as much.
        """
        writer = store.writer(
            self.artifact,
            inputs=self.inputs,
            parameters=self.parameters,
            code_version=self.code_version,
            key=self.key,
            run=self.run,
            promote=False,  # the asset's checks decide what becomes current
        )
        writer.figures["seconds"] = round(time.time() - psutil.Process().create_time(), 3)
        ranks = int(os.environ.get("WORLD_SIZE", "1"))
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        writer.figures["peak_memory_bytes"] = peak_kib * 1024 * ranks
        return writer


class Progress:
    """Writes `progress.json`, at most every `interval` seconds; a new stage and an end are always written."""

    def __init__(self, folder: Path, interval: float = 0.5) -> None:
        self.path = folder / "progress.json"
        self.interval = interval
        self._stage = ""
        self._last = 0.0

    def __call__(self, stage: str, done: int, total: int, unit: str, message: str = "") -> None:
        now = time.monotonic()
        if stage == self._stage and done != total and now - self._last < self.interval:
            return
        self._stage, self._last = stage, now
        write_json(
            self.path, {"stage": stage, "done": done, "total": total, "unit": unit, "message": message}
        )


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)
