"""What a machine can run: hardware and libraries are faked as files and programs on PATH."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pool_core.backends import install, runtime, wheelhouse
from pool_core.backends.check import check_backend
from pool_core.backends.descriptors import BASE_ARGS
from pool_core.backends.errors import BackendMissing
from pool_core.backends.hardware import Gpu, parse_nvidia_smi
from pool_core.backends.install import install_backend, plan_install
from pool_core.backends.listing import describe_backend, list_backends
from pool_core.backends.runtime import resolve_runtime
from pool_core.errors import UnknownName
from pool_core.events import Progress, State
from pool_core.home import Home
from tests.fakes.pool import finish


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.from_env({"LLORCH_HOME": str(tmp_path / "home")})


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but what the test puts there."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("pool_core.backends.hardware._NVCC", tmp_path / "no-nvcc")
    monkeypatch.setattr("pool_core.backends.hardware._NVIDIA", tmp_path / "no-driver")
    return folder


def put_tool(folder: Path, name: str, output: str = "") -> None:
    script = folder / name
    script.write_text(f"#!/bin/sh\n/bin/cat <<'EOF'\n{output}\nEOF\n")
    script.chmod(0o755)


def put_gpu(folder: Path) -> None:
    put_tool(folder, "nvidia-smi", "0, NVIDIA L4, 23034, 22500, 41")


def put_runtime(home: Home, backend: str, library: str) -> Path:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = home.runtimes / backend / "lib" / version / "site-packages"
    (packages / "llama_cpp" / "lib").mkdir(parents=True)
    (packages / "llama_cpp" / "lib" / library).touch()
    (packages / "llama_cpp_python-0.3.36.dist-info").mkdir()
    python = home.runtimes / backend / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    return python


def test_this_environment_serves_cpu_and_rpc(home: Home) -> None:
    for name in ("cpu", "rpc"):
        info = describe_backend(home, name)
        assert info.is_ready and info.python == sys.executable and info.build == "0.3.36"


def test_a_machine_without_a_gpu_says_so(home: Home, tools: Path) -> None:
    info = describe_backend(home, "cuda")
    assert not info.available and not info.installed
    assert "no NVIDIA driver" in info.reason and info.remedy


def test_a_gpu_without_a_runtime_names_the_install_command(home: Home, tools: Path) -> None:
    put_gpu(tools)
    put_tool(tools, "g++")
    put_tool(tools, "nvcc")
    info = describe_backend(home, "cuda")
    assert info.available and not info.installed and info.hardware == "NVIDIA L4"
    assert info.remedy == "llorch-pool backend install cuda"
    with pytest.raises(BackendMissing, match="backend install cuda"):
        resolve_runtime(home, "cuda")


def test_an_own_runtime_is_preferred_and_laid_over_this_environment(home: Home) -> None:
    python = put_runtime(home, "cpu", "libggml-cpu.so")
    found = resolve_runtime(home, "cpu")
    assert found.python == python
    overlay = found.libraries.parent.parent / "llorch.pth"
    assert "site.addsitedir" in overlay.read_text()


def test_a_runtime_whose_build_lacks_the_backend_does_not_count(home: Home) -> None:
    put_runtime(home, "cuda", "libggml-cpu.so")
    assert not describe_backend(home, "cuda").installed


def test_hardware_missing_comes_before_software_missing(home: Home, tools: Path) -> None:
    with pytest.raises(BackendMissing, match="this machine cannot run cuda: no NVIDIA driver"):
        resolve_runtime(home, "cuda")


def test_unknown_backends_get_the_nearest_name(home: Home) -> None:
    for call in (resolve_runtime, describe_backend, plan_install):
        with pytest.raises(UnknownName, match="did you mean cuda"):
            call(home, "cuba")


def test_listing_names_every_backend(home: Home) -> None:
    assert [info.name for info in list_backends(home)] == ["cpu", "rpc", "cuda", "metal"]


def test_installing_what_is_here_does_nothing(home: Home) -> None:
    events, data = finish(install_backend(home, "rpc"))
    assert data["built"] is False and data["python"] == sys.executable
    assert isinstance(events[-1], State) and "nothing to do" in events[-1].detail
    assert not home.runtimes.exists()


def test_installing_is_refused_without_hardware_and_without_a_compiler(
    home: Home, tools: Path
) -> None:
    with pytest.raises(BackendMissing, match="no use here: no NVIDIA driver"):
        plan_install(home, "cuda")
    put_gpu(tools)
    with pytest.raises(BackendMissing, match="C\\+\\+ compiler"):
        plan_install(home, "cuda")
    put_tool(tools, "g++")
    with pytest.raises(BackendMissing, match="nvcc"):
        plan_install(home, "cuda")
    put_tool(tools, "nvcc")
    assert plan_install(home, "cuda").cmake_args == (*BASE_ARGS, "-DGGML_CUDA=ON")


def test_force_builds_where_the_hardware_is_not(home: Home, tools: Path) -> None:
    assert "-DGGML_CUDA=ON" in plan_install(home, "cuda", force=True).cmake_args


def test_the_plan_is_a_venv_and_a_wheel_without_its_dependencies(home: Home, tools: Path) -> None:
    plan = plan_install(home, "cuda", force=True)
    scratch = Path("/scratch")
    assert plan.venv_argv(scratch) == [sys.executable, "-m", "venv", "/scratch"]
    argv = plan.install_argv(scratch, Path("/w/x.whl"))
    assert argv[0] == "/scratch/bin/python" and argv[-1] == "/w/x.whl"
    assert {"--no-index", "--no-deps"} <= set(argv)


def test_a_failed_build_leaves_nothing_in_runtimes(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> object:
        yield wheelhouse.BuildProgress(3, 345)
        raise wheelhouse.BuildFailed("compiling failed", "see the log")

    monkeypatch.setattr(wheelhouse, "build_wheel", fail)
    monkeypatch.setattr(install, "_run", lambda argv, log: None)
    work = install_backend(home, "cuda", force=True)
    with pytest.raises(wheelhouse.BuildFailed):
        assert Progress("building cuda", 3, 345, "steps") in list(work)
    assert list(home.runtimes.iterdir()) == []


def test_a_finished_build_takes_the_place_of_the_old_one(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_runtime(home, "cpu", "libggml-old.so")
    monkeypatch.setattr(wheelhouse, "build_wheel", lambda *_: (x for x in ()))
    monkeypatch.setattr(wheelhouse, "find_wheel", lambda *_: tmp_path / "x.whl")

    def build(argv: list[str], log: Path) -> None:
        if "venv" in argv:  # what venv and pip would have made
            put_runtime(Home(tmp_path / "made", tmp_path), "cpu", "libggml-cpu.so")
            scratch = Path(argv[-1])
            scratch.rmdir()
            (tmp_path / "made" / "runtimes" / "cpu").rename(scratch)

    monkeypatch.setattr(install, "_run", build)
    _, data = finish(install_backend(home, "cpu", force=True))
    assert data["built"] is True
    assert data["python"] == str(home.runtimes / "cpu" / "bin" / "python")
    assert [path.name for path in home.runtimes.iterdir()] == ["cpu"]


def test_check_asks_llama_cpp_itself(home: Home) -> None:
    report = check_backend(home, "cpu")
    assert report["version"] == "0.3.36"
    assert any("CPU" in device["name"] for device in report["devices"])
    assert all(device["memory_total"] >= device["memory_free"] for device in report["devices"])


def test_check_of_a_library_that_does_not_load_quotes_it(home: Home) -> None:
    put_runtime(home, "cpu", "libggml-cpu.so")
    broken = runtime.packages_folder(home.runtimes / "cpu")
    assert broken is not None
    (broken / "llama_cpp" / "__init__.py").write_text("raise OSError('libcuda.so.1 is missing')")
    python = home.runtimes / "cpu" / "bin" / "python"
    python.unlink()
    python.write_text(f'#!/bin/sh\nPYTHONPATH={broken} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.raises(BackendMissing, match="libcuda.so.1 is missing"):
        check_backend(home, "cpu")


def test_nvidia_smi_rows_with_gaps_are_read() -> None:
    text = "0, NVIDIA L4, 23034, 22500, 41\n1, Old card, [N/A], [N/A], [N/A]\nnonsense\n"
    assert parse_nvidia_smi(text) == [
        Gpu(0, "NVIDIA L4", 23034 << 20, 22500 << 20, 41.0),
        Gpu(1, "Old card"),
    ]
