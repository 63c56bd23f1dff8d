"""Throw-away SSH key pairs."""

from __future__ import annotations

import subprocess
from pathlib import Path

PASSPHRASE = "lab-secret"


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A new key pair at `path`; what was there is replaced."""
    for old in (path, path.with_name(path.name + ".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "llorch-lab", "-f", str(path)],
        check=True,
        capture_output=True,
    )
    return path


def public_key(path: Path) -> str:
    """`type base64` of a key pair."""
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])
