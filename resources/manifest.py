"""What an artifact is, as data: its manifest, its version, its key, the names it may bear.

Nothing here touches a disk or a network. The version is SHA-256 over the canonical JSON of the
artifact's name, its files without the volatile ones, and its inputs; the key is the same kind of
digest over what is known before the work. Both keep the first 16 hex digits.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MANIFEST = "manifest.json"
REFERENCES = "references.txt"
FORMAT = 1

_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_FILE_COMPONENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=@-]{0,199}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_VERSION = re.compile(r"[0-9a-f]{16}\Z")


class StoreError(Exception):
    """Anything that the store cannot do; the message names what, and the mend."""


class ObjectMissing(StoreError):
    """An object that something names is not in the store."""


class ObjectDamaged(StoreError):
    """An object's bytes are not those of its name."""


class ArtifactMissing(StoreError):
    """No artifact of that name and version, or no such file in it."""


class ArtifactDamaged(StoreError):
    """A manifest that cannot be read, or whose version is not its content's."""


@dataclass(frozen=True)
class ObjectInfo:
    """An object: its SHA-256 in hex and its length in bytes."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class FileEntry:
    """A file of an artifact; `volatile` ones are kept and verified but are no part of the version."""

    name: str
    bytes: int
    sha256: str
    volatile: bool = False


@dataclass(frozen=True)
class Manifest:
    """A published artifact. `published_at` is UTC, ISO 8601; `uri` says where it was read."""

    name: str
    version: str
    key: str
    files: tuple[FileEntry, ...]
    inputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    code_version: str
    run: Mapping[str, Any]
    figures: Mapping[str, Any]
    published_at: str
    uri: str = field(default="", compare=False)

    @property
    def bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.bytes for file in self.files)

    def file(self, name: str) -> FileEntry:
        """The entry of a file; raises ArtifactMissing that lists what there is."""
        for entry in self.files:
            if entry.name == name:
                return entry
        have = ", ".join(entry.name for entry in self.files[:12]) + (" …" if len(self.files) > 12 else "")
        raise ArtifactMissing(f"{self.name}@{self.version} has no file {name!r}; it has: {have}")

    def to_json(self) -> builtins.bytes:
        """The bytes of manifest.json: canonical JSON, indented for people."""
        body = {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "key": self.key,
            "files": [
                {"name": f.name, "bytes": f.bytes, "sha256": f.sha256}
                | ({"volatile": True} if f.volatile else {})
                for f in self.files
            ],
            "inputs": dict(self.inputs),
            "parameters": dict(self.parameters),
            "code_version": self.code_version,
            "run": dict(self.run),
            "figures": dict(self.figures),
            "published_at": self.published_at,
        }
        return (
            json.dumps(body, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n"
        )

    @classmethod
    def from_json(cls, body: builtins.bytes, uri: str) -> Manifest:
        """Parse and check manifest.json; raises ArtifactDamaged naming the place, the field and the mend."""
        where = f"{uri}/{MANIFEST}"
        try:
            data = json.loads(body)
            if data["format"] != FORMAT:
                raise ArtifactDamaged(
                    f"{where}: field 'format' is {data['format']!r}; this LUCA reads {FORMAT}"
                )
            manifest = cls(
                name=data["name"],
                version=data["version"],
                key=data["key"],
                files=tuple(
                    FileEntry(f["name"], int(f["bytes"]), f["sha256"], bool(f.get("volatile", False)))
                    for f in data["files"]
                ),
                inputs=data["inputs"],
                parameters=data["parameters"],
                code_version=data["code_version"],
                run=data["run"],
                figures=data["figures"],
                published_at=data["published_at"],
                uri=uri,
            )
            digest = version_of(manifest.name, manifest.files, manifest.inputs)
        except KeyError as error:
            raise ArtifactDamaged(
                f"{where}: field {error} is missing; delete this version and build it again"
            ) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise ArtifactDamaged(
                f"{where}: unreadable ({error}); delete this version and build it again"
            ) from error
        if manifest.version != digest:
            raise ArtifactDamaged(
                f"{where}: field 'version' is {manifest.version}, but its content has {digest}:"
                " it was altered; delete this version and build it again"
            )
        return manifest


def canonical_json(value: Any, what: str = "value") -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, no NaN; raises ValueError naming `what`."""
    try:
        return json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode()
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{what} is not plain JSON ({error}): use str, int, float, bool, None, list, dict"
        ) from error


def _digest16(value: Any, what: str) -> str:
    return hashlib.sha256(canonical_json(value, what)).hexdigest()[:16]


def version_of(name: str, files: tuple[FileEntry, ...], inputs: Mapping[str, str]) -> str:
    """An artifact's version: 16 hex digits over its name, its lasting files and its inputs."""
    listed = sorted([f.name, f.bytes, f.sha256] for f in files if not f.volatile)
    return _digest16({"name": name, "files": listed, "inputs": dict(inputs)}, f"{name}: inputs")


def artifact_key(
    name: str, inputs: Mapping[str, str], parameters: Mapping[str, Any], code_version: str
) -> str:
    """What is to be built, known before the work: over name, inputs, parameters, code version."""
    body = {
        "name": name,
        "inputs": dict(inputs),
        "parameters": dict(parameters),
        "code_version": code_version,
    }
    return _digest16(body, f"{name}: inputs or parameters")


def is_version(text: str) -> bool:
    """Whether the text is a version or a key: 16 lower-case hex digits."""
    return _VERSION.match(text) is not None


def check_version(text: str, what: str = "version") -> str:
    """The text, if it is 16 lower-case hex digits; raises ValueError otherwise."""
    if not is_version(text):
        raise ValueError(f"{what} {text!r} is not 16 lower-case hex digits")
    return text


def check_sha256(text: str) -> str:
    """The text, if it is 64 lower-case hex digits; raises ValueError otherwise."""
    if not _DIGEST.match(text):
        raise ValueError(f"object name {text!r} is not a SHA-256 in 64 lower-case hex digits")
    return text


def check_name(name: str) -> str:
    """An artifact's name: parts of letters, digits and . _ - between slashes; raises ValueError otherwise.

    HEAD, HELD, keys and what looks like a version are refused: they stand beside names in the store.
    """
    parts = name.split("/")
    for part in parts:
        if not _COMPONENT.match(part) or part in ("HEAD", "HELD", "keys") or is_version(part):
            raise ValueError(
                f"artifact name {name!r}: part {part!r} is not allowed; use letters, digits and . _ -,"
                " starting with a letter or digit, and not 'HEAD', 'HELD', 'keys' or 16 hex digits"
            )
    return name


def check_file_name(name: str) -> str:
    """A file's name inside an artifact (folders allowed); raises ValueError for unsafe or reserved ones."""
    for part in name.split("/"):
        if not _FILE_COMPONENT.match(part):
            raise ValueError(
                f"file name {name!r}: part {part!r} is not allowed; use letters, digits and . _ + = @ -,"
                " starting with a letter, digit or '_', no '..', no leading '/'"
            )
    if name == MANIFEST:
        raise ValueError(f"file name {name!r} is the store's own: choose another")
    return name


def object_key(sha256: str) -> str:
    """Where an object stands in a store."""
    return f"objects/{sha256[:2]}/{sha256}"


def artifact_folder(name: str, version: str) -> str:
    """Where an artifact stands in a store."""
    return f"artifacts/{name}/{version}"


def check_digest(expected: str, found: str, uri: str) -> None:
    """Raise ObjectDamaged unless the two digests are one."""
    if expected != found:
        raise ObjectDamaged(
            f"object {expected} in {uri} has bytes of SHA-256 {found};"
            " 'luca store verify --discard' removes it and names the artifacts to build again"
        )
