"""Installing clients: once for each set of versions, and never half."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.conformance.clients import Group
from tests.conformance.install import Installer, InstallError
from tests.conformance.registry import Newest, RegistryError

GROUP = Group("tool", (), pypi=("some-tool==1",))


class Recorder(Installer):
    """Installs nothing; notes what would have been."""

    fails = False

    def _run(self, name: str, argv: list[str], env: object) -> None:
        folder = self._root / name
        self.made = [*getattr(self, "made", []), argv]
        next(path for path in folder.iterdir() if path.is_dir()).joinpath("begun").touch()
        if self.fails:
            raise InstallError("no")


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr("venv.create", lambda folder, **_: Path(folder).mkdir(parents=True))
    return Recorder(lambda text: None, tmp_path)


def test_what_is_there_is_used_again(installer: Recorder) -> None:
    for _ in range(2):
        with installer.installed(GROUP) as installed:
            assert (installed.folder / "begun").exists()
    assert len(installer.made) == 1


def test_what_was_interrupted_is_begun_anew(installer: Recorder) -> None:
    installer.fails = True
    with pytest.raises(InstallError), installer.installed(GROUP):
        pass
    installer.fails = False
    with installer.installed(GROUP):
        assert len(installer.made) == 2


def test_older_versions_go_unless_they_are_used(installer: Recorder) -> None:
    newer = Group("tool", (), pypi=("some-tool==2",))
    newest = Group("tool", (), pypi=("some-tool==3",))
    with installer.installed(GROUP) as old, installer.installed(newer):
        assert (old.folder / "begun").exists()
    with installer.installed(newest) as last:
        assert [path for path in last.folder.parent.iterdir() if path.is_dir()] == [last.folder]


def test_the_last_answer_holds_while_the_registry_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "newest.json"
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(RegistryError, match="some-unheard-of-tool"):
        Newest(file).pypi("some-unheard-of-tool")
    file.write_text(json.dumps({"pypi:some-unheard-of-tool": ["1.5", time.time() - 1e6]}))
    found = Newest(file).pypi("some-unheard-of-tool[extra]")
    assert found == "some-unheard-of-tool[extra]==1.5"
