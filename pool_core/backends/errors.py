"""What can go wrong with backends."""

from __future__ import annotations

from pool_core.errors import LlorchError


class BackendMissing(LlorchError):
    """This machine cannot run the backend, or nothing is installed for it."""

    code = "E_BACKEND"
