"""Downloading 1 GB from a local hub: ours (resumable, verified) beside `hf download`, in one run.

python -m benchmarks.download [--megabytes 1000]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.rigs.hub import Repo

REPO, FILE = "acme/large-GGUF", "large.gguf"
OURS = """
from pool_core.catalog import make_registration
from pool_core.download import download
from pool_core.home import Home
entry = make_registration({"id": "large", "repo": "%s", "file": "%s", "sha256": "%s"})
for event in download(entry, Home.from_env()):
    pass
"""


def measure(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Wall seconds and CPU seconds of a process."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(
        command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wall, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system
    return wall, cpu - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    size = parser.parse_args().megabytes * 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / FILE).open("wb") as file:
            for _ in range(size // 1_000_000):
                file.write(random.randbytes(1_000_000))
        # In a process of its own, so that its work is not counted as the clients'.
        hub = subprocess.Popen(
            [sys.executable, "-m", "tests.rigs.hub", "--repo", f"{REPO}={folder}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            compare(folder, hub, size)
        finally:
            hub.terminate()
            hub.wait()


def compare(folder: Path, hub: subprocess.Popen[str], size: int) -> None:
    assert hub.stdout is not None
    endpoint = json.loads(hub.stdout.readline())["endpoint"]
    sha256 = Repo.of_folder(REPO, folder).sha256(FILE)
    hf = str(Path(sys.executable).parent / "hf")
    results: dict[str, list[tuple[float, float]]] = {"ours": [], "hf": []}
    for turn in range(3):
        environment = os.environ | {
            "HF_ENDPOINT": endpoint,
            "HF_HOME": str(folder / f"hf{turn}"),
            "LLORCH_HOME": str(folder / f"home{turn}"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_XET": "1",
        }
        ours = [sys.executable, "-c", OURS % (REPO, FILE, sha256)]
        results["ours"].append(measure(ours, environment))
        target = ["--local-dir", str(folder / f"there{turn}")]
        results["hf"].append(measure([hf, "download", REPO, FILE, *target], environment))
    best = {name: min(runs) for name, runs in results.items()}
    for name, (wall, cpu) in best.items():
        print(f"{name}: {size / wall / 1e6:.0f} MB/s, {cpu:.1f} s of CPU")
    print(f"ours / hf download: {best['hf'][0] / best['ours'][0]:.2f} times as fast")


if __name__ == "__main__":
    main()
