"""status, health, doctor, backend, models: answers and failures."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pool_core import __version__
from pool_core.home import Home
from tests.fakes.pool import MODEL, FakePool
from tests.pool_ctl.conftest import Ask

Start = Callable[..., subprocess.Popen[str]]


def test_status_names_models_backends_and_what_is_served(ask: Ask) -> None:
    worker = ask("worker", "spawn", "cpu", "-m", "ref-llama").data
    data = ask("status").data
    assert data["version"] == __version__ and "ref-llama" in data["models"]
    assert {"cpu", "rpc"} <= set(data["backends"])
    assert data["workers"] == {"ready": 1}
    assert data["serving"][0]["url"] == worker["url"]


def test_health_asks_the_workers_themselves(ask: Ask) -> None:
    ask("worker", "spawn", "cpu", "-m", "ref-llama")
    data = ask("health").data
    assert data["cpus"] >= 1 and 0 < data["memory_available"] <= data["memory_total"]
    assert data["disk_free"] > 0
    (worker,) = data["workers"]
    assert worker["health"]["running"] == 1 and worker["rss_bytes"] > 0


def test_doctor_passes_here_and_names_each_check(ask: Ask) -> None:
    data = ask("doctor").data
    assert data["ok"] is True
    names = [check["name"] for check in data["checks"]]
    assert {"python", "home", "disk", "llama.cpp", "rpc", "compiler", "workers"} <= set(names)
    assert all(check["remedy"] for check in data["checks"] if check["verdict"] != "ok")


def test_doctor_finds_a_broken_configuration(ask: Ask, pool: FakePool) -> None:
    pool.home.config_file.write_text("[worker]\nctxx = 1\n")
    answer = ask("doctor")
    assert answer.code == 1 and answer.lines[-1]["ok"] is False
    (failed,) = [c for c in answer.lines[-1]["data"]["checks"] if c["verdict"] == "fail"]
    assert failed["name"] == "settings" and "ctxx" in failed["found"]


def test_doctor_finds_a_damaged_record(ask: Ask, pool: FakePool) -> None:
    pool.home.workers.mkdir(parents=True)
    (pool.home.workers / "x-cpu-0000.json").write_text("{")
    assert ask("doctor").code == 1


def test_backends_are_listed_checked_and_refused(ask: Ask, pool: FakePool) -> None:
    rows = {row["name"]: row for row in ask("backend", "list").data["backends"]}
    assert rows["rpc"]["ready"] and not rows["metal"]["available"] and rows["metal"]["remedy"]
    assert ask("backend", "check", "rpc").data["devices"]
    assert ask("backend", "install", "rpc").data["built"] is False
    assert ask("backend", "install", "metal").error["code"] == "E_BACKEND"


def test_models_are_listed_with_what_their_files_say(ask: Ask) -> None:
    rows = {row["id"]: row for row in ask("models", "list").data["models"]}
    assert "tinyllama" not in rows  # known, and not here
    assert rows["ref-llama"]["state"] == "shipped"
    assert rows["ref-llama"]["quantization"] == "F16" and rows["ref-llama"]["size"] > 1_000_000
    known = {row["id"]: row for row in ask("models", "catalog").data["models"]}
    assert known["tinyllama"]["quantization"] == "Q4_K_M" and len(known) > len(rows)


def test_show_tells_the_header_and_the_memory_a_worker_needs(ask: Ask) -> None:
    small = ask("models", "show", "ref-llama", "--ctx", "1024").data
    large = ask("models", "show", "ref-llama", "--ctx", "65536").data
    assert small["header"]["architecture"] == "llama" and small["header"]["layers"] == 4
    assert small["memory"]["kv"] * 64 == large["memory"]["kv"]


def test_a_model_of_ones_own_can_be_registered_served_and_forgotten(
    ask: Ask, tmp_path: Path
) -> None:
    own = tmp_path / "own.gguf"
    own.write_bytes(MODEL.read_bytes())
    ask("models", "register", "mine", "--path", str(own), "--alias", "m", "--role", "fast")
    row = next(row for row in ask("models", "list").data["models"] if row["id"] == "mine")
    assert row["roles"] == ["fast"] and row["aliases"] == ["m"]
    assert ask("worker", "spawn", "cpu", "-m", "m").data["model"] == "mine"
    assert ask("models", "verify", "mine").data["pinned"] is False
    assert ask("models", "unregister", "mine").data["id"] == "mine"
    assert own.exists()
    assert ask("models", "show", "mine").code == 2


def test_a_catalog_of_the_operators_can_be_named(ask: Ask, tmp_path: Path) -> None:
    catalog = tmp_path / "extra.toml"
    catalog.write_text(f'[models.extra]\npath = "{MODEL}"\n')
    spawned = ask("worker", "spawn", "cpu", "-m", "extra", "--catalog", str(catalog))
    assert spawned.data["model"] == "extra"


@pytest.mark.parametrize("content", [None, b"", b"<html>not found</html>"])
def test_what_is_no_gguf_is_not_registered(ask: Ask, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "no.gguf"
    if content is not None:
        path.write_bytes(content)
    answer = ask("models", "register", "no", "--path", str(path))
    assert answer.code == 1 and str(path) in answer.error["msg"]
    assert ask("models", "show", "no").code == 2


def test_a_truncated_model_is_refused_with_the_path(ask: Ask, tmp_path: Path) -> None:
    half = tmp_path / "half.gguf"
    half.write_bytes(MODEL.read_bytes()[:1_000_000])
    ask("models", "register", "half", "--path", str(half))
    answer = ask("worker", "spawn", "cpu", "-m", "half")
    assert answer.code == 1 and str(half) in answer.error["msg"]
    assert ask("doctor").code == 1


def test_a_folder_without_permission_is_said_in_one_line(
    start: Start, pool: FakePool, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    command = start("worker", "spawn", "cpu", "-m", "ref-llama", env={"LLORCH_HOME": str(blocked)})
    _, err = command.communicate(timeout=60)
    assert command.returncode == 1
    assert err.startswith("error:") and "Traceback" not in err and str(blocked) in err


def test_a_defect_leaves_its_traceback_in_a_file(
    ask: Ask, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(home: Home) -> None:
        raise RuntimeError("what now")

    monkeypatch.setattr("pool_core.health.pool_status", break_down)
    answer = ask("status")
    assert answer.code == 1 and answer.error["code"] == "E_INTERNAL"
    assert answer.error["msg"] == "internal error: RuntimeError: what now"
    text = Path(answer.error["details"]["traceback"]).read_text()
    assert (
        "break_down" in text
        and pool.home.logs in Path(answer.error["details"]["traceback"]).parents
    )


def test_version_and_help_of_every_command(start: Start) -> None:
    out, _ = start("--version").communicate(timeout=60)
    assert out == f"llorch-pool {__version__}\n"
    out, _ = start("worker", "spawn", "--help").communicate(timeout=60)
    assert "llorch-pool worker spawn cpu --model ref-llama" in out


def test_a_bare_group_shows_its_help(start: Start) -> None:
    command = start("models")
    out, err = command.communicate(timeout=60)
    assert command.returncode == 2 and "Commands:" in out and err == ""


def test_the_shell_completes_models_backends_and_workers(start: Start, ask: Ask) -> None:
    worker = ask("worker", "spawn", "cpu", "-m", "ref-llama").data["id"]

    def complete(line: str) -> str:
        words = line.split(" ")
        env = {
            "_LLORCH_POOL_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        out, err = start(env=env).communicate(timeout=60)
        assert err == ""
        return out

    assert "ref-llama" in complete("llorch-pool worker spawn cpu --model ref-l")
    assert "cuda" in complete("llorch-pool worker spawn cu")
    assert worker in complete("llorch-pool worker stop ref")
    assert "stop-all" in complete("llorch-pool worker stop")
