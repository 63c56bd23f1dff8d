"""One token for the whole worker, in either header that clients of chat APIs use."""

from __future__ import annotations

import hmac

from starlette.requests import Request

from worker.api.errors import ApiError


def check_token(request: Request, token: str | None) -> None:
    """Raises ApiError 401 unless no token is set or one header carries it.

    Some clients send both headers with different keys: either may match.
    """
    if token is None:
        return
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = [request.headers.get("x-api-key", "")]
    if scheme.lower() == "bearer":
        given.append(bearer.strip())
    if not any(hmac.compare_digest(value.encode(), token.encode()) for value in given):
        raise ApiError(
            401,
            "UNAUTHORIZED",
            "this worker needs its token: Authorization: Bearer TOKEN, or x-api-key: TOKEN",
            openai_code="invalid_api_key",
        )
