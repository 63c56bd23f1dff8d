"""`llorch matrix`: run models x backends x pools, and look at plans and reports."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llorch_ctl.options import AllOption, HostsOption, JsonOption, PoolsOption, session_of
from pool_core.console import Console
from pool_core.errors import ExitCode

if TYPE_CHECKING:
    from llorch_ctl.matrix.run import Ending, MatrixRun

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Do models, backends and pools agree? One cell for each combination.",
)

FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE.toml]",
        help="Models, backends, cases. [default: the reference models on cpu and rpc]",
    ),
]
FilterOption = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="EXPR",
        help='Only some cells: "ref-llama/*", or "model=ref-*,backend=cpu,case=sum".',
    ),
]


@app.command(
    "run",
    epilog="Exits with 0 when every cell passed, 100 when some did not, 3 when a pool could not "
    "be reached, 130 when stopped. Ctrl-C stops the workers and keeps what is known.",
)
def run_matrix(
    ctx: typer.Context,
    file: FileArgument = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Where the reports go. [default: reports/matrix-<UTC time>]",
        ),
    ] = None,
    pool: PoolsOption = None,
    host: HostsOption = None,
    all_pools: AllOption = False,
    chosen: FilterOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what passed before in --output DIR.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first cell that does not pass.")
    ] = False,
    no_download: Annotated[
        bool, typer.Option("--no-download", help="Do not fetch models that a pool lacks.")
    ] = False,
    json_lines: JsonOption = False,
) -> None:
    """Run the matrix: load each model on each backend of each pool, ask, compare, measure."""
    from llorch_ctl.matrix.start import Where, choose_folder, make_run, plan_matrix

    session = session_of(ctx)
    where = Where(pool or (), host or (), all_pools)
    plan, pools = plan_matrix(file, where, chosen, session.inventory)
    folder = choose_folder(output, resume=resume)
    run = make_run(plan, pools, session.home, folder, resume=resume)
    run.download, run.fail_fast = not no_download, fail_fast
    with closing(run):
        ending = _follow(run, session.console)
    _show(ending, session.console)
    # Not typer.Exit: 130 is an answer with a report here, and no error to be shown.
    raise SystemExit(int(ending.exit_code))


@app.command("show")
def show_plan(
    ctx: typer.Context,
    file: FileArgument = None,
    pool: PoolsOption = None,
    host: HostsOption = None,
    all_pools: AllOption = False,
    chosen: FilterOption = None,
    json_lines: JsonOption = False,
) -> None:
    """Print the cells and cases that would run; starts nothing."""
    from llorch_ctl.matrix.start import Where, plan_matrix

    session = session_of(ctx)
    where = Where(pool or (), host or (), all_pools)
    plan, _ = plan_matrix(file, where, chosen, session.inventory)
    if session.console.json_lines:
        session.console.result(plan.to_dict())
        return
    from llorch_ctl.matrix.views import plan_view

    session.console.print(*plan_view(plan))


@app.command("report")
def show_report(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a run.")],
    json_lines: JsonOption = False,
) -> None:
    """Print the table of an earlier run again."""
    from llorch_ctl.matrix.reports.report import read_report
    from llorch_ctl.matrix.reports.writer import JSON_NAME

    session = session_of(ctx)
    report = read_report(folder / JSON_NAME if folder.is_dir() else folder)
    if session.console.json_lines:
        session.console.result(report.to_dict())
        return
    from llorch_ctl.matrix.views import report_view

    session.console.print(*report_view(report))


def _follow(run: MatrixRun, console: Console) -> Ending:
    """Show the run to its end. Leaving early, for whatever reason, stops its workers."""
    from llorch_ctl.matrix.screen import make_screen

    screen = make_screen(run.plan, console)
    with screen:
        run.check()
        with closing(run.events()) as events:
            while True:
                try:
                    screen.show(next(events))
                except StopIteration as stop:
                    ending: Ending = stop.value
                    return ending


def _show(ending: Ending, console: Console) -> None:
    if console.json_lines:
        console.result(ending.to_dict(), ok=ending.exit_code is ExitCode.OK)
        return
    from llorch_ctl.matrix.views import report_view

    console.print(*report_view(ending.report), f"report: {ending.files[0].parent}")
