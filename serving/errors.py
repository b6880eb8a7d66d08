"""Errors in the shape that OpenAI's clients read: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

import json


class ApiError(Exception):
    """An answer that is an error: HTTP status, a stable code, and what the caller can do about it.

    `retry_after` is in seconds; it becomes the Retry-After header.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after

    def body(self) -> bytes:
        """The JSON body, as UTF-8."""
        error = {
            "message": self.message,
            "type": TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error"),
            "param": self.param,
            "code": self.code,
        }
        return json.dumps({"error": error}, ensure_ascii=False).encode()


TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def bad_request(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """400: the request itself is wrong; `param` names the field."""
    return ApiError(400, message, code=code, param=param)


def unauthorized() -> ApiError:
    """401: no key, or one that is not known (the two are not told apart)."""
    return ApiError(
        401,
        "Give a valid API key: Authorization: Bearer KEY. Make one with `luca keys create NAME`.",
        code="invalid_api_key",
    )


def not_found(message: str, code: str = "not_found", param: str | None = None) -> ApiError:
    """404: no such path, model or answer."""
    return ApiError(404, message, code=code, param=param)


def too_many(message: str, retry_after: float, code: str = "rate_limit_exceeded") -> ApiError:
    """429: a limit of this key; `retry_after` in seconds."""
    return ApiError(429, message, code=code, retry_after=retry_after)


def engine_unreachable() -> ApiError:
    """503: nothing answers at the engine's address."""
    return ApiError(
        503, "The model is not reachable now. Try again soon.", code="engine_unreachable", retry_after=5
    )


def engine_failed(detail: str) -> ApiError:
    """502: the engine answered, but not with something that can be used."""
    return ApiError(502, f"The model's engine failed: {detail}", code="engine_failed")


def engine_timeout(seconds: float) -> ApiError:
    """504: the engine did not answer in time."""
    return ApiError(504, f"The model did not answer within {seconds:g} s.", code="engine_timeout")
