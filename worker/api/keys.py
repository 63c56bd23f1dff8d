"""Who is calling: the keys of a file that may change, and the token from the environment."""

from __future__ import annotations

import hmac
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from starlette.requests import Request

from pool_core.api_keys import hash_key, read_keys
from pool_core.errors import LlorchError
from worker.api.errors import ApiError

log = logging.getLogger(__name__)

TOKEN_NAME = "token"  # what the environment's key is called in logs
NOBODY = ""  # the one caller of a worker without keys


class KeyRing:
    """Reads its file again whenever that has changed: a key that is removed is refused from the
    next request on. Of a file that makes no sense the last good state stays in force; without a
    file its keys are gone."""

    def __init__(self, token: str | None, file: Path | None) -> None:
        self._token = None if token is None else hash_key(token)
        self._file = file
        self._stamp: tuple[int, ...] | None = None
        self._keys: dict[str, str] = {}

    @property
    def is_open(self) -> bool:
        """Whether everybody may call."""
        return self._token is None and self._file is None

    def check(self, request: Request) -> str:
        """The name of the key that the request has. Raises ApiError 401 when it has none.

        Some clients send both headers with different keys: either may match.
        """
        if self.is_open:
            return NOBODY
        self._refresh()
        known = dict(self._keys)
        if self._token is not None:
            known[TOKEN_NAME] = self._token
        found = None
        # All are compared, each in constant time, so that how long it takes says nothing.
        for given in [hash_key(key) for key in _given(request)]:
            for name, digest in known.items():
                if hmac.compare_digest(given, digest):
                    found = name
        if found is None:
            raise ApiError(
                401,
                "UNAUTHORIZED",
                "this worker needs a key: Authorization: Bearer KEY, or x-api-key: KEY",
                openai_code="invalid_api_key",
            )
        return found

    def _refresh(self) -> None:
        if self._file is None:
            return
        stamp = _stamp(self._file)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        if stamp is None:
            self._keys = {}
            log.error("no keys: %s is not there", self._file)
            return
        try:
            self._keys = read_keys(self._file)
        except LlorchError as error:
            log.error("the keys stay as they were: %s", error)
        else:
            log.info("%d keys", len(self._keys), extra={"data": {"keys": sorted(self._keys)}})


def _stamp(file: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode


def _given(request: Request) -> Iterator[str]:
    yield request.headers.get("x-api-key", "")
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield bearer.strip()
