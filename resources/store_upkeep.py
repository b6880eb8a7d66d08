"""Upkeep of a store: `verify` reads back, `gc` removes what nothing needs.

What is needed: the files of every published artifact and the objects in their `references.txt`; with
`keep`, those of HEAD, of the newest versions, and of all that they were built from. Beside that, gc leaves
everything stored after its cutoff, which lies before the start of the oldest writer at work. So a writer
is never robbed: what it stored or took anew is younger than the cutoff.
Memory: 32 bytes (about 90 in Python) for each object needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from resources.manifest import (
    MANIFEST,
    REFERENCES,
    Manifest,
    ObjectMissing,
    StoreError,
    artifact_folder,
    check_name,
)
from resources.store_backend import CHUNK, LeaseInfo

if TYPE_CHECKING:
    from resources.store import Store


@dataclass(frozen=True)
class Problem:
    """Something wrong: `kind` is missing, damaged, manifest, pointer or folder."""

    kind: str
    subject: str
    detail: str
    mend: str


@dataclass
class VerifyReport:
    """What was read back, and what was wrong with it."""

    artifacts: int = 0
    objects: int = 0
    bytes: int = 0
    problems: list[Problem] = field(default_factory=list)


@dataclass
class GcReport:
    """What was removed (or would be, on a dry run), and what is left."""

    dry_run: bool = False
    versions: list[str] = field(default_factory=list)
    objects: int = 0
    bytes: int = 0
    leftovers: int = 0
    kept_objects: int = 0
    kept_bytes: int = 0
    too_young: int = 0
    writers: int = 0


def verify(
    store: Store,
    names: Iterable[str] | None = None,
    *,
    deep: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> VerifyReport:
    """Check manifests, pointers and folders; with `deep`, hash the bytes of each object once.

    `names`: only these artifacts (otherwise all, and every object in the store, needed or not).
    `on_progress(bytes done, bytes in all)`. Raises ValueError for a name that is not in the store.
    """
    report = VerifyReport()
    manifests = _readable(store, names, report)
    report.artifacts = len(manifests)
    needs = _needs(store, manifests, report)
    present = {e.key: e.bytes for e in store.backend.objects()} if names is None else None
    sizes = store.backend.sizes(needs) if present is None else present
    for sha256 in sorted(needs.keys() - sizes.keys()):
        report.problems.append(_missing(sha256, needs[sha256]))
    for manifest in manifests:
        for entry in manifest.files:
            found = sizes.get(entry.sha256)
            if found is not None and found != entry.bytes:
                detail = f"{entry.sha256} has {found} bytes, not {entry.bytes}"
                report.problems.append(_damaged(f"{_label(manifest)} {entry.name}", detail))
        for text in store.backend.view_problems(manifest):
            mend = "build the artifact again, or remove the folder and do so"
            report.problems.append(Problem("folder", _label(manifest), text, mend))
    wanted = sorted(sizes)
    report.objects, report.bytes = len(wanted), sum(sizes.values())
    if deep:
        done = 0
        for sha256 in wanted:
            problem = _hash(store, sha256, needs.get(sha256, "nothing"))
            if problem is not None:
                report.problems.append(problem)
            done += sizes[sha256]
            if on_progress is not None:
                on_progress(done, report.bytes)
    _check_pointers(store, sorted({m.name for m in manifests}), report)
    return report


def discard_damaged(store: Store, report: VerifyReport) -> list[str]:
    """Remove the objects that `verify` found damaged, so that a run stores them whole; their digests."""
    damaged = sorted({p.subject for p in report.problems if p.kind == "damaged" and len(p.subject) == 64})
    return [sha256 for sha256 in damaged if store.backend.delete_object(sha256, float("inf"))]


def gc(
    store: Store,
    *,
    keep: int | None = None,
    grace_seconds: float = 3600,
    lease_seconds: float = 86400,
    dry_run: bool = False,
) -> GcReport:
    """Remove unneeded objects, what killed writers left, and dangling keys.

    `keep`: also remove superseded versions but the newest `keep` of each name (HEAD among them), those
    younger than the grace, and whatever the kept ones were built from. `grace_seconds`: younger things
    stay. `lease_seconds`: on S3, how long a silent writer counts as alive (on a disk its lock tells).
    Raises ArtifactDamaged or ObjectMissing, and removes nothing, if a manifest or a list of references
    cannot be read: then nobody knows what is needed.
    """
    backend = store.backend
    report = GcReport(dry_run=dry_run)
    now = backend.now()
    leases = backend.leases(lease_seconds)
    cutoff = min([now - grace_seconds, *(lease.started for lease in leases)])
    report.writers = len(leases)
    gone: set[tuple[str, str]] = set()
    if keep is not None:
        for manifest in _superseded(store, _manifests(store), keep, cutoff, leases):
            if dry_run or _retract(store, manifest):
                gone.add((manifest.name, manifest.version))
                report.versions.append(_label(manifest))
    # After the removal: a version that a writer made HEAD again meanwhile is among these.
    needed = _mark(store, [m for m in _manifests(store) if (m.name, m.version) not in gone or not dry_run])
    if not dry_run:
        _drop_dangling_keys(store)
    for entry in backend.objects():
        if bytes.fromhex(entry.key) in needed:
            report.kept_objects += 1
            report.kept_bytes += entry.bytes
        elif entry.modified < cutoff and (dry_run or backend.delete_object(entry.key, cutoff)):
            report.objects += 1
            report.bytes += entry.bytes
        else:
            report.too_young += 1
    for left in backend.leftovers(cutoff, lease_seconds):
        report.leftovers += 1
        if not dry_run:
            backend.remove_leftover(left)
    return report


def _mark(store: Store, manifests: Iterable[Manifest]) -> set[bytes]:
    needed: set[bytes] = set()
    for manifest in manifests:
        needed.update(bytes.fromhex(entry.sha256) for entry in manifest.files)
        try:
            needed.update(bytes.fromhex(sha256) for sha256 in store.references(manifest))
        except (ObjectMissing, ValueError) as error:
            raise StoreError(
                f"gc: {REFERENCES} of {_label(manifest)} cannot be read ({error}): nobody knows what it"
                " needs. Build it again, or delete that version; nothing was removed"
            ) from error
    return needed


def _superseded(
    store: Store, manifests: list[Manifest], keep: int, cutoff: float, leases: list[LeaseInfo]
) -> list[Manifest]:
    """The manifests that neither are kept nor are what a kept one was built from."""
    if keep < 1:
        raise ValueError(f"gc: keep is {keep}; at least 1, since HEAD always stays")
    known = {(m.name, m.version): m for m in manifests}
    stack: list[tuple[str, str]] = [item for lease in leases for item in lease.body.get("inputs", {}).items()]
    for name in {m.name for m in manifests}:
        own = sorted((m for m in manifests if m.name == name), key=lambda m: (m.published_at, m.version))
        head = store.head(name)
        stack += [(m.name, m.version) for m in own[-keep:]] + ([(name, head.version)] if head else [])
        stack += [(m.name, m.version) for m in own if _published(m) >= cutoff]
    kept: set[tuple[str, str]] = set()
    while stack:
        item = stack.pop()
        if item in known and item not in kept:
            kept.add(item)
            stack.extend(known[item].inputs.items())
    return [known[item] for item in sorted(known.keys() - kept)]


def _published(manifest: Manifest) -> float:
    return datetime.fromisoformat(manifest.published_at).timestamp()


def _manifests(store: Store) -> list[Manifest]:
    return [m for n, v in list(store.backend.artifacts("")) if (m := store.get(n, v)) is not None]


def _retract(store: Store, manifest: Manifest) -> bool:
    """Remove a superseded version, unless a writer made it HEAD again meanwhile; whether it was removed."""
    with store.backend.guard(exclusive=True):
        if store.pointer(f"artifacts/{manifest.name}/HEAD") == manifest.version:
            return False
        store.backend.retract(manifest.name, manifest.version)
        return True


def _drop_dangling_keys(store: Store) -> None:
    there = set(store.backend.artifacts(""))
    for name in sorted({name for name, _ in there}):
        for key in store.backend.keys(name):
            path = f"artifacts/{name}/keys/{key}"
            with store.backend.guard(exclusive=True):
                version = store.pointer(path)
                if (
                    version is None
                    or store.backend.read(f"{artifact_folder(name, version)}/{MANIFEST}") is None
                ):
                    store.backend.delete(path)


def _readable(store: Store, names: Iterable[str] | None, report: VerifyReport) -> list[Manifest]:
    there = sorted(store.backend.artifacts(""))
    if names is not None:
        wanted = {check_name(name) for name in names}
        unknown = sorted(wanted - {name for name, _ in there})
        if unknown:
            raise ValueError(f"{store.uri} has no artifact {unknown[0]!r}; 'luca store ls' lists them")
        there = [(name, version) for name, version in there if name in wanted]
    manifests: list[Manifest] = []
    for name, version in there:
        try:
            manifest = store.get(name, version)
        except StoreError as error:
            mend = f"remove {store.uri}/{artifact_folder(name, version)} and build it again"
            report.problems.append(Problem("manifest", f"{name}@{version}", str(error), mend))
        else:
            manifests += [manifest] if manifest is not None else []
    return manifests


def _needs(store: Store, manifests: list[Manifest], report: VerifyReport) -> dict[str, str]:
    """Digest -> what needs it, for people."""
    needs: dict[str, str] = {}
    for manifest in manifests:
        for entry in manifest.files:
            needs.setdefault(entry.sha256, f"{_label(manifest)} {entry.name}")
        try:
            for sha256 in store.references(manifest):
                needs.setdefault(sha256, f"{_label(manifest)} (reference)")
        except ObjectMissing:
            continue  # reported as a missing file
        except ValueError as error:
            subject = f"{_label(manifest)} {REFERENCES}"
            report.problems.append(_damaged(subject, str(error)))
    return needs


def _hash(store: Store, sha256: str, owner: str) -> Problem | None:
    digest = hashlib.sha256()
    try:
        with store.open_object(sha256) as file:
            for chunk in iter(lambda: file.read(CHUNK), b""):
                digest.update(chunk)
    except ObjectMissing:
        return _missing(sha256, owner)
    except OSError as error:
        return _damaged(sha256, f"unreadable: {error}; needed by {owner}")
    if digest.hexdigest() == sha256:
        return None
    return _damaged(sha256, f"its bytes have SHA-256 {digest.hexdigest()}; needed by {owner}")


def _check_pointers(store: Store, names: list[str], report: VerifyReport) -> None:
    for name in names:
        for key in ("HEAD", *(f"keys/{key}" for key in store.backend.keys(name))):
            path = f"artifacts/{name}/{key}"
            version = store.pointer(path)
            if version is None and store.backend.read(path) is None:
                continue  # no HEAD: nothing of this name has passed its checks yet
            if version is None:
                detail = "names no version"
            elif store.backend.read(f"{artifact_folder(name, version)}/{MANIFEST}") is None:
                detail = f"names {version}, which is not there"
            else:
                continue
            report.problems.append(
                Problem("pointer", path, detail, "run the asset again; gc drops dangling keys")
            )


def _label(manifest: Manifest) -> str:
    return f"{manifest.name}@{manifest.version}"


def _missing(sha256: str, owner: str) -> Problem:
    return Problem("missing", sha256, f"needed by {owner}", "run the asset again: it is built anew")


def _damaged(subject: str, detail: str) -> Problem:
    return Problem("damaged", subject, detail, "'luca store verify --discard', then run the asset again")
