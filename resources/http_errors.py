"""What can go wrong with a request, by what the caller should do about it."""

from __future__ import annotations


class HttpError(Exception):
    """A request that gave no usable answer. The message names the address, without its secrets.

    `brief` is the message without what upstream wrote, which may differ each time (a date, a request's id).
    """

    def __init__(self, message: str, status: int | None = None, brief: str = ""):
        super().__init__(message)
        self.status = status
        self.brief = brief or message


class Unreachable(HttpError):
    """No answer, or only busy ones, after all retries: try again later."""


class Transient(HttpError):
    """An answer that says nothing yet (an empty body, a busy message under 200): retried."""


class Denied(HttpError):
    """Upstream refuses (401, 403, 451, a challenge page). Never worked around."""


class Gone(HttpError):
    """404 or 410."""


class BadResponse(HttpError):
    """An answer that makes no sense here: an unexpected status, HTML for XML, a redirect loop."""


class TooLarge(HttpError):
    """More bytes than the limit."""


class DamagedPayload(HttpError):
    """Bytes that are not those upstream promises (length, checksum). validators: of the answer, if any."""

    validators: object = None
