"""The doors on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from pool_core.api_keys import hash_key, read_keys
from pool_core.errors import UsageError
from worker.__main__ import main
from worker.limits import Limits
from worker.settings import parse_settings

MODEL = ["--model", "/m/x.gguf"]


def test_every_limit_arrives() -> None:
    options = "--queue 3 --queue-order priority --max-body 1M --body-timeout 5 --max-headers 9K"
    options += " --header-timeout 2 --requests-per-minute 4 --tokens-per-minute 5"
    options += " --key-requests-per-minute 6 --key-tokens-per-minute 7 --key-concurrency 8"
    settings = parse_settings([*MODEL, *options.split()], {})
    assert settings.limits == Limits(3, "priority", 1 << 20, 5.0, 9 << 10, 2.0, 4, 5, 6, 7, 8)
    assert parse_settings(MODEL, {}).limits == Limits()


def test_origins_are_written_as_browsers_write_them() -> None:
    settings = parse_settings([*MODEL, "--cors", "https://a.example:8", "--cors", "*"], {})
    assert settings.cors == ("https://a.example:8", "*")
    for wrong in ("a.example", "https://a.example/", "https://"):
        with pytest.raises(UsageError, match="not an origin"):
            parse_settings([*MODEL, "--cors", wrong], {})


def test_a_key_is_made_with_the_line_that_lets_it_in(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["--make-key", "laptop"]) == 0
    key, _, line = capsys.readouterr().out.splitlines()
    file = tmp_path / "keys"
    file.write_text(f"# mine\n\n{line}\n")
    file.chmod(0o600)
    assert read_keys(file) == {"laptop": hash_key(key)}
    assert main(["--make-key"]) == 2 and main(["--make-key", "a:b"]) == 2


@pytest.mark.parametrize("line", ["laptop", "a:md5:00", "a:sha256:00", "a b:sha256:" + "0" * 64])
def test_a_line_that_is_no_key_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "keys"
    file.touch(0o600)
    file.write_text(f"ok:sha256:{'0' * 64}\n{line}\n")
    with pytest.raises(UsageError, match="line 2"):
        read_keys(file)
