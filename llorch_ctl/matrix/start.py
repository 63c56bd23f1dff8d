"""From a command line to a plan and a run: which file, which pools, which folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llorch_ctl.connect import open_transport
from llorch_ctl.inventory import LOCAL, Inventory, Pool
from llorch_ctl.matrix.load import load_matrix
from llorch_ctl.matrix.plan import Filter, Plan, make_plan
from llorch_ctl.matrix.reports.report import read_report, reusable
from llorch_ctl.matrix.reports.writer import JSON_NAME
from llorch_ctl.matrix.run import MatrixRun
from pool_core.errors import UsageError
from pool_core.home import Home


@dataclass(frozen=True, slots=True)
class Where:
    """What was said about pools: names and groups, ad-hoc targets, or all of the inventory."""

    names: Sequence[str] = ()
    hosts: Sequence[str] = ()
    every: bool = False


def reference_file() -> Path:
    """The matrix that is run when no file is named."""
    from pool_core.catalog import shipped_folder

    return shipped_folder() / "matrices" / "reference.toml"


def plan_matrix(
    file: Path | None, where: Where, chosen: str | None, inventory: Inventory
) -> tuple[Plan, dict[str, Pool]]:
    """The plan, and its pools by name. Pools of the command line replace those of the file.

    Raises UsageError for what cannot be run: a wrong file, an unknown pool, an empty choice.
    """
    matrix = load_matrix(file or reference_file())
    names = where.names or (() if where.hosts or where.every else matrix.pools or (LOCAL,))
    pools = {pool.name: pool for pool in inventory.select(names, where.hosts, where.every)}
    return make_plan(matrix, list(pools), Filter.parse(chosen)), pools


def choose_folder(output: Path | None, *, resume: bool) -> Path:
    """Where the reports go: `output`, or a new folder below the current one."""
    if output is not None:
        return output
    if resume:
        raise UsageError("--resume needs the folder of the earlier run", "add --output DIR")
    return Path("reports") / time.strftime("matrix-%Y%m%dT%H%M%SZ", time.gmtime())


def make_run(
    plan: Plan, pools: dict[str, Pool], home: Home, folder: Path, *, resume: bool
) -> MatrixRun:
    """A run that is ready for `check`; with `resume` it takes over what already passed."""
    earlier = {}
    if resume and (folder / JSON_NAME).exists():
        earlier = reusable(read_report(folder / JSON_NAME), plan)
    return MatrixRun(plan, lambda name: open_transport(pools[name], home), folder, earlier)
