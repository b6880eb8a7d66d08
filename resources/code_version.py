"""A digest of source code, so that an artifact's key changes when the code that makes it does."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from resources.settings import PROJECT


def source_files(module: str) -> list[Path]:
    """The .py files of a dotted module or package, found by path: nothing is imported."""
    base = PROJECT.joinpath(*module.split("."))
    if base.is_dir():
        return sorted(p for p in base.rglob("*.py") if "__pycache__" not in p.parts)
    file = base.with_suffix(".py")
    if not file.is_file():
        raise ValueError(f"code_version: no module {module!r} under the project")
    return [file]


@cache
def code_version(*modules: str) -> str:
    """First 16 hex digits of SHA-256 over the named modules' source files (name and bytes)."""
    digest = hashlib.sha256()
    for file in sorted({f for m in modules for f in source_files(m)}):
        name = file.relative_to(PROJECT).as_posix().encode()
        body = file.read_bytes()
        digest.update(b"%d:%s%d:" % (len(name), name, len(body)) + body)
    return digest.hexdigest()[:16]
