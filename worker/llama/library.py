"""llama.cpp as a library of this process: found, initialised once, its log in ours."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp
from llama_cpp import llama_cpp as C
from llama_cpp._ggml import libggml

log = logging.getLogger("llama.cpp")

_ERROR = 4  # GGML_LOG_LEVEL_ERROR

# llama.cpp says only in its log why a model was refused and where its layers went.
_captured: list[tuple[int, str]] | None = None
_capture_lock = threading.Lock()


def _on_log(level: int, text: bytes, _: object) -> None:
    if _captured is None and not log.isEnabledFor(logging.DEBUG) and level != _ERROR:
        return
    line = text.decode("utf-8", "replace").rstrip()
    if not line:
        return
    if _captured is not None:
        _captured.append((level, line))
    # Its informational lines are details to us: only what it calls an error is more.
    log.log(logging.WARNING if level == _ERROR else logging.DEBUG, "%s", line)


# llama_cpp's own callback prints to stderr; ours is in place before anything is said.
_log_callback = C.llama_log_callback(_on_log)  # kept: C holds only its address
C.llama_log_set(_log_callback, ctypes.c_void_p(0))
C.llama_backend_init()


class LogLines(list[tuple[int, str]]):
    """What llama.cpp said while it was listened to, as (level, line)."""

    @property
    def text(self) -> str:
        return "\n".join(line for _, line in self)

    @property
    def reason(self) -> str:
        """The line that says what went wrong, without the name of the function that says it."""
        errors = [line.partition(": ")[2] or line for level, line in self if level == _ERROR]
        telling = [line for line in errors if "error loading model" in line]
        line = (telling or errors or ["llama.cpp did not say why"])[0]
        return line.removeprefix("error loading model: ")


@contextmanager
def captured_log() -> Iterator[LogLines]:
    """Listen to llama.cpp's log, one at a time in this process."""
    global _captured
    with _capture_lock:
        lines = LogLines()
        _captured = lines
        try:
            yield lines
        finally:
            _captured = None


def build() -> str:
    """Which llama.cpp this is."""
    version: bytes = C.llama_version()
    return f"llama-cpp-python {llama_cpp.__version__}, llama.cpp {version.decode()}"


def ggml_function(name: str, restype: Any, *argtypes: Any) -> Any | None:
    """A function of ggml; None where the build was made without the part that has it."""
    try:
        function = getattr(libggml, name)
    except AttributeError:
        return None
    function.restype, function.argtypes = restype, list(argtypes)
    return function
