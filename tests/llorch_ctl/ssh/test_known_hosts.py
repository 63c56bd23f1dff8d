"""known_hosts as OpenSSH reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch_ctl.ssh.known_hosts import KnownHosts, Verdict, fingerprint, parse_line
from tests.rigs.ssh_keys import make_key, public_key


def blob_of(key: str) -> bytes:
    entry = parse_line(f"host {key}", Path("x"), 1)
    assert entry is not None
    return entry.blob


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("keys")
    kinds = {"right": "ed25519", "wrong": "ed25519", "ecdsa": "ecdsa"}
    return {name: public_key(make_key(folder / name, kind)) for name, kind in kinds.items()}


def judge(
    tmp_path: Path, text: str, key: str, name: str = "[127.0.0.1]:2222"
) -> tuple[Verdict, int]:
    file = tmp_path / "known_hosts"
    file.write_text(text)
    verdict, entry = KnownHosts([file]).judge(name, key.split()[0], blob_of(key))
    return verdict, entry.line if entry else 0


@pytest.mark.parametrize(
    ("lines", "verdict", "line"),
    [
        ("[127.0.0.1]:2222 {right}", Verdict.KNOWN, 1),
        ("  [127.0.0.1]:2222   {right}   a comment", Verdict.KNOWN, 1),
        ("other,[127.0.0.1]:2222 {right}", Verdict.KNOWN, 1),
        ("[127.0.0.*]:2222 {right}", Verdict.KNOWN, 1),
        ("[127.0.0.?]:* {right}", Verdict.KNOWN, 1),
        ("127.0.0.1 {right}", Verdict.KNOWN, 1),
        ("[127.0.0.1]:2222 {wrong}\n[127.0.0.1]:2222 {right}", Verdict.KNOWN, 2),
        ("", Verdict.NEW, 0),
        ("[127.0.0.1]:2223 {right}", Verdict.NEW, 0),
        ("127.0.0.1 {wrong}", Verdict.NEW, 0),
        ("*,![127.0.0.1]:2222,!127.0.0.1 {right}", Verdict.NEW, 0),
        ("[127.0.0.1]:2222 {wrong}", Verdict.CHANGED, 1),
        ("[127.0.0.1]:2222 {ecdsa}", Verdict.CHANGED, 1),
        ("@revoked * {right}", Verdict.REVOKED, 1),
        ("[127.0.0.1]:2222 {right}\n@revoked * {right}", Verdict.REVOKED, 2),
        ("@revoked * {wrong}\n[127.0.0.1]:2222 {right}", Verdict.KNOWN, 2),
        ("@cert-authority * {wrong}", Verdict.AUTHORITY, 1),
        ("@cert-authority * {wrong}\n[127.0.0.1]:2222 {right}", Verdict.KNOWN, 2),
        ("@cert-authority elsewhere {wrong}", Verdict.NEW, 0),
        (
            "# a comment\n\n@odd * x y\nnonsense\n[127.0.0.1]:2222 ssh-ed25519 !!!\n"
            "[127.0.0.1]:2222 ssh-rsa AAAA\n[127.0.0.1]:2222 {right}",
            Verdict.KNOWN,
            7,
        ),
    ],
)
def test_a_file_is_read_as_ssh_reads_it(
    tmp_path: Path, keys: dict[str, str], lines: str, verdict: Verdict, line: int
) -> None:
    assert judge(tmp_path, lines.format(**keys), keys["right"]) == (verdict, line)


def test_hashed_names(tmp_path: Path, keys: dict[str, str]) -> None:
    file = tmp_path / "hashed"
    file.write_text(f"[127.0.0.1]:2222 {keys['right']}\nother {keys['wrong']}\n")
    subprocess.run(["ssh-keygen", "-H", "-f", str(file)], check=True, capture_output=True)
    assert "127.0.0.1" not in file.read_text()

    verdict, _ = KnownHosts([file]).judge("[127.0.0.1]:2222", "ssh-ed25519", blob_of(keys["right"]))

    assert verdict is Verdict.KNOWN


def test_several_files_count_as_one_and_a_missing_one_is_empty(
    tmp_path: Path, keys: dict[str, str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(f"host {keys['ecdsa']}\n")
    second.write_text(f"host {keys['right']}\n")

    hosts = KnownHosts([first, tmp_path / "missing", second])

    assert hosts.judge("host", "ssh-ed25519", blob_of(keys["right"]))[0] is Verdict.KNOWN
    assert hosts.types_of("host") == ["ecdsa-sha2-nistp256", "ssh-ed25519"]
    assert hosts.types_of("elsewhere") == []


def test_a_changed_file_is_read_again(tmp_path: Path, keys: dict[str, str]) -> None:
    assert judge(tmp_path, "", keys["right"])[0] is Verdict.NEW
    line = f"[127.0.0.1]:2222 {keys['right']}"
    assert judge(tmp_path, line, keys["right"])[0] is Verdict.KNOWN


def test_fingerprints_look_as_ssh_keygen_shows_them(tmp_path: Path, keys: dict[str, str]) -> None:
    file = tmp_path / "key.pub"
    file.write_text(keys["right"])
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(file)], check=True, capture_output=True, text=True
    ).stdout

    assert fingerprint(blob_of(keys["right"])) in shown.split()


@given(st.text(st.characters(exclude_characters="\n")))
def test_no_line_breaks_the_reader(line: str) -> None:
    entry = parse_line(line, Path("x"), 1)
    if entry is not None:
        entry.matches("host")
