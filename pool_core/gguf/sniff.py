"""What a file is that is not GGUF: the usual mistakes, in words."""

from __future__ import annotations

_BEGINNINGS = (
    (b"version https://git-lfs", "a git-lfs pointer, not the file itself"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
    (b"PK\x03\x04", "a ZIP archive or a PyTorch checkpoint"),
    (b"lmgg", "an old GGML file"),
    (b"tjgg", "an old GGJT file"),
    (b"fmgg", "an old GGMF file"),
    (b"FUGG", "a big-endian GGUF file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
)


def describe_beginning(data: bytes) -> str:
    if not data:
        return "an empty file"
    for beginning, name in _BEGINNINGS:
        if data.startswith(beginning):
            return name
    if data[8:10] in (b'{"', b"{ "):
        return "a safetensors file"
    return f"bytes {data[:4].hex(' ')}"
