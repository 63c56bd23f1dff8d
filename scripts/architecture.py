"""Writes `.specs/architecture.md`: one line for each module, taken from the module itself.

    .venv/bin/python scripts/architecture.py            # after adding, moving or renaming a module

A test compares the file with what this would write, so the map never drifts from the land.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / ".specs" / "architecture.md"
PACKAGES = ("pool_core", "pool_ctl", "llorch_ctl", "worker")

HEAD = """# Architecture

One line for each module, from its own docstring. Written by `scripts/architecture.py`.

```
llorch_ctl ──▶ pool_ctl ──▶ pool_core        llorch mirrors llorch-pool's command tree
worker ──▶ pool_core                         serve → api → chat → engine ← llama
                                             (serve alone sees api, engine and llama together)
```

The applications meet on the wire, not in memory: `llorch` runs `llorch-pool stdio` on a pool
([protocol](protocol.md)), and everybody talks to workers over HTTP ([worker](worker.md)). Which
module may import which is a contract in `pyproject.toml`, kept by import-linter; each third-party
library has one door, kept by `tests/test_architecture.py`.

What the parts promise: [catalog](catalog.md) · [download](download.md) · [pool](pool.md) ·
[protocol](protocol.md) · [control](control.md) · [worker](worker.md) · [matrix](matrix.md) ·
wire formats in [schemas/](schemas/).
"""


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page as it should be."""
    return HEAD + "".join(section(package) for package in PACKAGES)


def section(package: str) -> str:
    """A package: what it is, then its folders and their modules."""
    text = f"\n## {package}\n\n{first_line(ROOT / package / '__init__.py')}\n"
    for folder, modules in groupby(modules_of(ROOT / package), key=lambda path: path.parent):
        name = folder.relative_to(ROOT)
        heading = f"**`{name}/`**"
        if folder.name != package:
            heading += f" {first_line(folder / '__init__.py')}"
        rows = [f"- `{path.name}`: {first_line(path)}" for path in modules]
        text += f"\n{heading}\n\n" + "\n".join(rows) + "\n"
    return text


def modules_of(folder: Path) -> Iterator[Path]:
    paths = folder.rglob("*.py")
    yield from sorted(
        (path for path in paths if not path.name.startswith("__")),
        key=lambda path: (path.parent.as_posix(), path.name),
    )


def first_line(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{path} says nothing about itself"
    return docstring.splitlines()[0]


if __name__ == "__main__":
    main()
