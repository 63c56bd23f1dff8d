"""Files to a pool over SFTP: under a temporary name first, then in place in one step."""

from __future__ import annotations

import secrets
import stat
from contextlib import suppress
from pathlib import Path, PurePosixPath

import paramiko

from llorch_ctl.errors import TransferFailed
from llorch_ctl.ssh.connection import Connection

_CHUNK = 256 * 1024


def put(connection: Connection, local: Path, remote: PurePosixPath) -> None:
    """Copy `local` to `remote` (relative to the login's home), mode bits too.

    Raises TransferFailed; what was at `remote` is then as it was.
    """
    channel = connection.open_session()
    try:
        channel.invoke_subsystem("sftp")
        with paramiko.SFTPClient(channel) as sftp:
            _put(sftp, connection.pool, local, remote)
    except (paramiko.SSHException, EOFError) as error:
        raise TransferFailed(
            connection.pool, f"no SFTP there ({error})", "enable Subsystem sftp in its sshd_config"
        ) from error
    finally:
        channel.close()
        connection.release_session()


def _put(sftp: paramiko.SFTPClient, pool: str, local: Path, remote: PurePosixPath) -> None:
    part = remote.with_name(f".{remote.name}.{secrets.token_hex(4)}.part")
    try:
        _write(sftp, local, part)
        sftp.chmod(str(part), stat.S_IMODE(local.stat().st_mode))
        sftp.posix_rename(str(part), str(remote))  # plain rename refuses to replace
    except OSError as error:
        with suppress(OSError):
            sftp.remove(str(part))
        raise TransferFailed(pool, f"cannot write {remote}: {_reason(error)}") from error


def _write(sftp: paramiko.SFTPClient, local: Path, part: PurePosixPath) -> None:
    with local.open("rb") as source, sftp.open(str(part), "wb") as sink:
        sink.set_pipelined(True)
        while chunk := source.read(_CHUNK):
            sink.write(chunk)
    written = sftp.stat(str(part)).st_size
    if written != local.stat().st_size:
        raise OSError(f"only {written} bytes arrived")


def _reason(error: OSError) -> str:
    if str(error) == "Failure":  # all that SFTP says of a full disk
        return "the server says only Failure; is its disk full?"
    return error.strerror or str(error)
