"""API keys: shown once, kept only as HMAC-SHA256 digests under a pepper.

A key is 32 random bytes, so a fast keyed digest is as safe as a slow one (which is for people's passwords),
and a check costs two microseconds. The pepper stands in its own file (or in LUCA_KEY_PEPPER), so that
the keys file alone verifies nothing.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from serving.files import locked, write_atomic, write_json_atomic
from serving.limits import Limits

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
PREFIX = "luca-"


class KeysError(ValueError):
    """A keys file, a name or a limit that cannot be used; the message says which and what to do."""


@dataclass(frozen=True)
class ApiKey:
    """One key as it is kept: `digest` is hexadecimal, `created` in seconds since 1970."""

    id: str
    name: str
    digest: str
    created: int
    revoked: int | None = None
    limits: Limits = field(default_factory=Limits)


class KeyRing:
    """The keys file of one serving folder."""

    def __init__(self, folder: Path, environment: Mapping[str, str] = os.environ) -> None:
        self.path = folder / "keys.json"
        self._lock = folder / "keys.lock"
        self._pepper_file = folder / "pepper"
        self._environment = environment

    def pepper(self) -> bytes:
        """The secret under the digests, made on first use; KeysError if it is too short to be one."""
        given = self._environment.get("LUCA_KEY_PEPPER", "")
        if not given:
            if not self._pepper_file.exists():
                with locked(self._lock):
                    if not self._pepper_file.exists():
                        write_atomic(self._pepper_file, secrets.token_hex(32).encode())
            given = self._pepper_file.read_text(encoding="utf-8").strip()
        if len(given) < 32:
            raise KeysError(
                f"LUCA_KEY_PEPPER or {self._pepper_file}: needs at least 32 characters, has {len(given)}"
            )
        return given.encode()

    def read(self) -> list[ApiKey]:
        """Every key, revoked ones too, in order of creation; KeysError naming the file if it is damaged."""
        try:
            raw = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise KeysError(
                f"{self.path}: not JSON ({error}). Restore it, or remove it and make new keys."
            ) from None
        try:
            return [ApiKey(**{**entry, "limits": Limits(**entry.get("limits", {}))}) for entry in raw["keys"]]
        except (KeyError, TypeError) as error:
            raise KeysError(f"{self.path}: an entry is not a key ({error}). Remove that entry.") from None

    def create(self, name: str, limits: Limits | None = None) -> tuple[str, ApiKey]:
        """Make a key: the text to give away (never kept) and its record. KeysError on a taken or bad name."""
        limits = limits or Limits()
        if not NAME.fullmatch(name):
            raise KeysError(
                f"name {name!r}: use 1 to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
            )
        if limits.requests_per_minute <= 0 or limits.burst < 1 or limits.tokens_per_minute <= 0:
            raise KeysError(f"limits of {name!r}: requests and tokens a minute above 0, burst at least 1")
        pepper = self.pepper()
        with locked(self._lock):
            keys = self.read()
            if any(k.name == name and k.revoked is None for k in keys):
                raise KeysError(f"name {name!r}: a live key has it. Revoke that one, or take another name.")
            text = PREFIX + secrets.token_urlsafe(32)
            key = ApiKey(secrets.token_hex(4), name, digest(pepper, text), int(time.time()), None, limits)
            self._write([*keys, key])
        return text, key

    def revoke(self, name_or_id: str) -> ApiKey:
        """Revoke the live key of this name or id; KeysError if there is none."""
        with locked(self._lock):
            keys = self.read()
            for position, key in enumerate(keys):
                if key.revoked is None and name_or_id in (key.id, key.name):
                    keys[position] = replace(key, revoked=int(time.time()))
                    self._write(keys)
                    return keys[position]
        raise KeysError(f"no live key has the name or id {name_or_id!r}. `luca keys list` shows them.")

    def local(self, name: str = "local") -> str:
        """The key of this machine's own user (`luca ask`, the smoke question), kept in a private file."""
        file = self.path.with_name(f"{name}.key")
        with locked(self.path.with_name(f"{name}.key.lock")):
            if file.exists():
                text = file.read_text(encoding="utf-8").strip()
                wanted = digest(self.pepper(), text)
                if any(k.digest == wanted and k.revoked is None for k in self.read()):
                    return text
            if any(k.name == name and k.revoked is None for k in self.read()):
                self.revoke(name)
            text, _ = self.create(name)
            write_atomic(file, text.encode())
            return text

    def _write(self, keys: list[ApiKey]) -> None:
        entries: list[dict[str, Any]] = [asdict(key) for key in keys]
        write_json_atomic(self.path, {"keys": entries})


class KeyTable:
    """Live keys by digest, in memory: what the gateway looks up on every request."""

    def __init__(self, pepper: bytes, keys: list[ApiKey]) -> None:
        self._pepper = pepper
        self._live = {bytes.fromhex(k.digest): k for k in keys if k.revoked is None}

    def find(self, authorization: bytes | None) -> ApiKey | None:
        """The key of an Authorization header's value, or None."""
        if authorization is None or authorization[:7].lower() != b"bearer ":
            return None
        return self._live.get(hmac.digest(self._pepper, authorization[7:].strip(), "sha256"))

    def ids(self) -> set[str]:
        """Identities of the live keys."""
        return {key.id for key in self._live.values()}


def digest(pepper: bytes, text: str) -> str:
    """HMAC-SHA256 of a key's text, in hexadecimal."""
    return hmac.digest(pepper, text.encode(), "sha256").hex()
