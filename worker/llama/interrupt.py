"""Ending a computation from another thread."""

from __future__ import annotations

import ctypes

from llama_cpp import llama_cpp as C

# llama.cpp asks a callback after each node of its graph, hundreds of times a step, whether to go
# on. One in Python would take the interpreter's lock each time and wait for whoever has it, so the
# callback is the C library's strlen: of a string that is empty until somebody interrupts.
_strlen = ctypes.CDLL(None).strlen


class Interrupt:
    """Ends the decode that is running in any of the contexts it is installed in."""

    def __init__(self) -> None:
        self._flag = ctypes.create_string_buffer(2)
        self._callback = ctypes.cast(_strlen, C.ggml_abort_callback)

    def install(self, context: C.llama_context_p) -> None:
        """This must live as long as the context. Only what the CPU computes can be ended."""
        C.llama_set_abort_callback(context, self._callback, ctypes.addressof(self._flag))

    def clear(self) -> None:
        self._flag[0] = b"\0"

    def set(self) -> None:
        """From any thread. Holds until `clear`."""
        self._flag[0] = b"\1"
