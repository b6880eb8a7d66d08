"""Keys never reach a log, an error or a manifest."""

from __future__ import annotations

import re
from collections.abc import Iterable

SECRET_PARAMETERS = ("key", "api_key", "apikey", "token", "access_token", "password", "signature")
_IN_QUERY = re.compile(
    r"(?i)([?&;](?:" + "|".join(SECRET_PARAMETERS) + r"|x-amz-[a-z-]+)=)[^&\s\"'<>]+",
)
_USERINFO = re.compile(r"(?i)(\w+://)[^/@\s]+@")


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` with the values of secret query parameters, user:password@ and the named secrets as ``***``."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return _USERINFO.sub(r"\1***@", _IN_QUERY.sub(r"\1***", text))
