"""Files to a pool: whole or not at all."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from llorch_ctl.errors import TransferFailed
from llorch_ctl.remote import RemoteTransport
from pool_core.home import Home
from tests.rigs.sshd import SshHost, SshLab


@pytest.fixture
def host(lab: SshLab) -> SshHost:
    return lab.add_host("mac")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "llorch.whl"
    path.write_bytes(bytes(range(256)) * 8192)
    path.chmod(0o640)
    return path


def test_a_file_arrives_whole_with_its_mode_and_replaces_the_old_one(
    host: SshHost, home: Home, wheel: Path
) -> None:
    target = host.folder / "llorch.whl"
    target.write_text("old")

    with RemoteTransport(host.pool, home) as transport:
        transport.put(wheel, PurePosixPath(target))
        transport.put(wheel, PurePosixPath(target))

    assert target.read_bytes() == wheel.read_bytes()
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_folder_that_is_not_there(host: SshHost, home: Home, wheel: Path) -> None:
    target = PurePosixPath(host.folder / "missing" / "llorch.whl")

    with RemoteTransport(host.pool, home) as transport:
        with pytest.raises(TransferFailed, match=f"mac: cannot write {target}: No such file"):
            transport.put(wheel, target)


def test_nothing_is_left_of_a_file_that_could_not_be_put_in_place(
    host: SshHost, home: Home, wheel: Path
) -> None:
    target = host.folder / "taken"
    target.mkdir()
    (target / "something").touch()

    with RemoteTransport(host.pool, home) as transport, pytest.raises(TransferFailed):
        transport.put(wheel, PurePosixPath(target))

    assert list(host.folder.glob(".taken*")) == []


def test_a_server_without_sftp(lab: SshLab, home: Home, wheel: Path) -> None:
    host = lab.add_host("bare", {"Subsystem": "other /bin/true"})

    with RemoteTransport(host.pool, home) as transport:
        with pytest.raises(TransferFailed, match="no SFTP there"):
            transport.put(wheel, PurePosixPath(host.folder / "x"))
