"""The one string that we ever hand to a login shell."""

from __future__ import annotations

from llorch_ctl.client import NOT_INSTALLED

_PLACES = (
    '"$HOME/.local/share/llorch/current/bin/llorch-pool"',
    '"$HOME/.local/bin/llorch-pool"',
    "/opt/homebrew/bin/llorch-pool",
    "/usr/local/bin/llorch-pool",
)

# Constant, so nothing needs quoting; read alike by bash, dash, zsh, fish and tcsh, which is why
# it has no "!", backslash or line break. Places come before PATH: what PATH a login shell has
# over SSH is anybody's guess.
START = (
    f"exec /bin/sh -c 'for p in {' '.join(_PLACES)}; "
    'do [ -x "$p" ] && exec "$p" stdio; done; '
    "command -v llorch-pool >/dev/null && exec llorch-pool stdio; "
    f"echo {NOT_INSTALLED} >&2; exit 127'"
)


def start_command(path: str | None) -> str:
    """How to start `llorch-pool stdio`; `path` is a pool's own `command`, checked when read."""
    return f"exec {path} stdio" if path else START
