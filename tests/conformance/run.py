"""Real clients against a real worker: starts both, and gathers what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pool_core.errors import LlorchError
from tests.conformance.clients import Group, Suite
from tests.conformance.install import Installed, Installer, Say
from tests.conformance.results import SuiteResult, read_checks
from tests.rigs.worker import ROOT, WorkerProcess

SUITES = Path(__file__).parent / "suites"
KEY = "sk-conformance"
MODEL = "ref-qwen2"
_AT_ONCE = 3
_SUITE_TAKES_AT_MOST_S = 420.0


def run_groups(
    groups: Sequence[Group], say: Say, pytest_args: Sequence[str] = ()
) -> list[SuiteResult]:
    """One result for each suite, in their order. A client that cannot be installed has failed."""
    installer = Installer(say)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = stack.enter_context(_workers())
        if any(group.npm for group in groups):
            env["CONFORMANCE_NODE"] = str(installer.node_programs())

        def run(group: Group) -> list[SuiteResult]:
            try:
                with installer.installed(group) as installed:
                    return [
                        _run_suite(suite, installed, env, folder, say, pytest_args)
                        for suite in group.suites
                    ]
            except LlorchError as error:
                say(f"{group.name}: {error}")
                return [
                    SuiteResult(suite.client, "–", (), 0.0, str(error)) for suite in group.suites
                ]

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [result for results in pool.map(run, groups) for result in results]


@contextmanager
def _workers() -> Iterator[dict[str, str]]:
    """The workers that all suites share run as long as the block; gives how suites find them."""
    token = {"LLORCH_WORKER_TOKEN": KEY}
    with (
        WorkerProcess("--ctx", "65536", model=MODEL, env=token) as main,
        WorkerProcess("--slots", "1", "--queue", "1", model=MODEL, env=token) as busy,
    ):
        yield {
            "CONFORMANCE_URL": main.wait_ready().url,
            "CONFORMANCE_BUSY_URL": busy.wait_ready().url,
            "CONFORMANCE_KEY": KEY,
            "CONFORMANCE_MODEL": MODEL,
        }
        for line in main.log_lines + busy.log_lines:
            if line.get("level", "").lower() == "error":
                print(f"worker: {line}", file=sys.stderr)


def _run_suite(
    suite: Suite,
    installed: Installed,
    env: dict[str, str],
    folder: Path,
    say: Say,
    pytest_args: Sequence[str],
) -> SuiteResult:
    version = installed.version(suite.package)
    file = folder / f"{suite.file}.jsonl"
    started = time.monotonic()
    argv = [
        str(installed.python),
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "-c",
        str(SUITES / "pytest.ini"),
    ]
    argv += ["--rootdir", str(SUITES), str(SUITES / suite.file), *pytest_args]
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env=_environment(suite, installed, env, file, folder),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_SUITE_TAKES_AT_MOST_S,
        )
        problem = done.stdout.strip() if done.returncode else ""
    except subprocess.TimeoutExpired:
        problem = f"not done after {_SUITE_TAKES_AT_MOST_S:.0f} s"
    result = SuiteResult(
        suite.client, version, read_checks(file), time.monotonic() - started, problem
    )
    good = sum(check.passed for check in result.checks)
    say(
        f"{suite.client} {version}: {good} of {len(result.checks)} in {result.seconds:.0f} s"
        + (f"\n{problem}" if problem else "")
    )
    return result


def _environment(
    suite: Suite, installed: Installed, env: dict[str, str], file: Path, folder: Path
) -> dict[str, str]:
    """A home of its own, and nothing of this machine's accounts or proxies."""
    home = folder / f"{suite.file}.home"
    home.mkdir(exist_ok=True)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    made = {
        **kept,
        **env,
        "HOME": str(home),
        "CONFORMANCE_RESULTS": str(file),
        "CONFORMANCE_FOLDER": str(installed.folder),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if not installed.is_venv:
        made["PYTHONPATH"] = str(ROOT)
    return made
