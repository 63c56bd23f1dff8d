"""Files that are not what was written are noticed, whatever happened to them."""

from __future__ import annotations

import json
import logging
import os
import struct
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.worker.engine.cache.kit import FINGERPRINT, LARGE, counting, files, snapshot, store
from worker.engine.cache import file_format
from worker.engine.cache.file_format import encode_head
from worker.engine.cache.fingerprint import FORMAT_VERSION

KEPT = snapshot("kept", counting(0, 20), state=bytes(range(256)), agent="kept")
WHOLE = encode_head(KEPT, FINGERPRINT) + KEPT.state


def tells(data: bytes, reasons: set[str]) -> None:
    """A store that knew the file and one that meets it now both refuse it and put it away."""
    for knows in (False, True):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            disk = store(folder)
            assert disk.write(KEPT)
            (path,) = files(folder)
            if not knows:
                disk = store(folder)
            path.write_bytes(data)
            if not knows:
                disk.refresh()  # sees all but the state
            if files(folder):
                assert disk.read(KEPT.key) is None
            assert files(folder) == []
            assert len(files(folder, "*.bad")) == 1
            assert disk.num_bytes == 0
            assert sum(disk.tally.failures.values()) == 1
            assert reasons >= set(disk.tally.failures)


@settings(deadline=None)
@given(st.integers(0, len(WHOLE) - 1))
def test_any_truncation(size: int) -> None:
    tells(WHOLE[:size], {"truncated"})


@settings(deadline=None)
@given(st.integers(0, 8 * len(WHOLE) - 1))
def test_any_flipped_bit(bit: int) -> None:
    data = bytearray(WHOLE)
    data[bit // 8] ^= 1 << bit % 8
    tells(bytes(data), {"truncated", "checksum", "version", "header"})


@settings(deadline=None)
@given(st.binary(max_size=2_000))
def test_any_other_content(data: bytes) -> None:
    tells(data, {"truncated", "header"})


def forged(change: Callable[[dict[str, object]], object]) -> bytes:
    """A file by somebody who knows the format, its checksums right."""
    start = struct.calcsize("<8sII16s")
    (size,) = struct.unpack_from("<I", WHOLE, 12)
    fields = json.loads(WHOLE[start : start + size])
    header = json.dumps(change(fields) or fields).encode()
    body = header + KEPT.tokens.tobytes()
    digest = file_format._head_digest(FORMAT_VERSION, len(header), body)
    return (
        struct.pack("<8sII16s", b"LLORCHKV", FORMAT_VERSION, len(header), digest)
        + body
        + KEPT.state
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda fields: fields.update(num_tokens=1 << 40), "truncated"),
        (lambda fields: fields.update(state_bytes=1 << 62), "truncated"),
        (lambda fields: fields.update(num_tokens=-4), "header"),
        (lambda fields: fields.update(num_tokens=True), "header"),
        (lambda fields: fields.update(num_tokens="20"), "header"),
        (lambda fields: fields.update(key=5), "header"),
        (lambda fields: fields.update(key="agent/another"), "header"),
        (lambda fields: fields.update(agent=["kept"]), "header"),
        (lambda fields: fields.update(state_xxh3_128="0" * 32), "checksum"),
        (lambda fields: fields.update(fingerprint_digest="0" * 64), "fingerprint"),
        (lambda fields: ["not an object"], "header"),
    ],
)
def test_a_forged_header(change: Callable[[dict[str, object]], object], reason: str) -> None:
    tells(forged(change), {reason})


def test_a_header_nested_beyond_all_reason() -> None:
    header = b"[" * 60_000
    data = struct.pack("<8sII16s", b"LLORCHKV", FORMAT_VERSION, len(header), b"") + header
    tells(data, {"header"})


def test_another_version() -> None:
    data = bytearray(WHOLE)
    data[8] = FORMAT_VERSION + 1
    tells(bytes(data), {"version"})


def test_another_model_in_the_folder_of_this() -> None:
    other = replace(FINGERPRINT, model_sha256="b" * 64)
    tells(encode_head(KEPT, other) + KEPT.state, {"fingerprint"})


def test_another_model_beside_this_is_left_alone(tmp_path: Path) -> None:
    other = store(tmp_path, LARGE, replace(FINGERPRINT, kv_type="q8_0"))
    assert other.write(KEPT)
    mine = store(tmp_path)
    mine.refresh()
    assert mine.read(KEPT.key) is None
    assert files(tmp_path, "*.bad") == []
    assert other.read(KEPT.key) is not None


def test_each_is_logged_with_its_path_and_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = store(tmp_path)
    for name in ("one", "two"):
        disk.write(snapshot(name))
    for path in files(tmp_path):
        path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert disk.read("agent/one") is disk.read("agent/two") is None
    assert len(caplog.messages) == 2
    assert all("truncated" in line and str(tmp_path) in line for line in caplog.messages)
    assert disk.tally.failures == {"truncated": 2}


def test_what_is_no_file_is_put_away_and_never_waited_for(tmp_path: Path) -> None:
    disk = store(tmp_path)
    for name in ("pipe", "link", "folder"):
        disk.write(snapshot(name))
    pipe, link, folder = (disk.folder / path.name for path in files(tmp_path))
    for path in (pipe, link, folder):
        path.unlink()
    os.mkfifo(pipe)
    link.symlink_to("/etc/hostname")
    folder.mkdir()
    disk = store(tmp_path)
    disk.refresh()
    assert disk.tally.failures == {"unreadable": 3}
    assert files(tmp_path) == []


def test_few_bad_files_are_kept(tmp_path: Path) -> None:
    disk = store(tmp_path)
    for number in range(40):
        disk.write(snapshot(str(number)))
        disk.set_aside(f"agent/{number}", "refused")
    assert len(files(tmp_path, "*.refused.bad")) == 16
    small = store(tmp_path, 20_000)
    small.write(snapshot("last"))
    small.set_aside("agent/last", "../refused")
    assert sum(path.stat().st_size for path in files(tmp_path, "*.bad")) <= 2_000
    assert len(files(tmp_path, "*.___refused.bad")) == 1
