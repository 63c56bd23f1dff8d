"""Writing the files of a report, each in one step."""

from __future__ import annotations

from pathlib import Path

from llorch_ctl.matrix.reports.html import to_html
from llorch_ctl.matrix.reports.junit import to_junit
from llorch_ctl.matrix.reports.markdown import to_markdown
from llorch_ctl.matrix.reports.report import Report
from pool_core.files import write_atomic

JSON_NAME = "report.json"


def write_progress(folder: Path, report: Report) -> None:
    """Keep what is known so far, so that a run that is killed can be resumed."""
    _write(folder / JSON_NAME, report.to_json())


def write_all(folder: Path, report: Report) -> list[Path]:
    """Write every format; returns the paths, the JSON report first."""
    files = {
        JSON_NAME: report.to_json(),
        "junit.xml": to_junit(report),
        "MODEL_SUPPORT.md": to_markdown(report),
        "report.html": to_html(report),
    }
    for name, text in files.items():
        _write(folder / name, text)
    return [folder / name for name in files]


def _write(path: Path, text: str) -> None:
    # A model may answer half a surrogate pair in JSON; UTF-8 cannot carry that.
    write_atomic(path, text.encode("utf-8", "replace").decode("utf-8"))
