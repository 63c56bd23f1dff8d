"""A loaded GGUF model."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from llama_cpp import llama_cpp as C

from worker.llama.devices import Device
from worker.llama.vocab import LlamaVocab

_POOLINGS = {"2": "cls", "3": "last", "4": "rank"}


class Model:
    """Owns one llama_model. Weights only: contexts hold everything that changes."""

    def __init__(self, handle: C.llama_model_p) -> None:
        self.handle: C.llama_model_p | None = handle
        self.vocab = LlamaVocab(handle)

    @classmethod
    def load(
        cls, path: Path, devices: Sequence[Device], on_progress: Callable[[float], None]
    ) -> Model | None:
        """Load with all layers on the devices, or on the CPU when there are none.

        None when llama.cpp refuses the file; its log says why.
        """
        params = C.llama_model_default_params()
        params.n_gpu_layers = -1 if devices else 0
        handles = (ctypes.c_void_p * (len(devices) + 1))(*[d.handle for d in devices], None)
        params.devices = ctypes.cast(handles, ctypes.c_void_p)

        def report(share: float, _: object) -> bool:
            on_progress(share)
            return True

        callback = C.llama_progress_callback(report)  # kept: C holds only its address
        params.progress_callback = callback
        handle = C.llama_model_load_from_file(os.fsencode(path), params)
        return None if handle is None else cls(handle)

    def meta(self, key: str) -> str:
        """A value of the file's metadata as text; "" when it has none."""
        buffer = ctypes.create_string_buffer(1024)
        size = C.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace") if size >= 0 else ""

    @property
    def context_length(self) -> int:
        return int(C.llama_model_n_ctx_train(self.handle))

    @property
    def num_layers(self) -> int:
        return int(C.llama_model_n_layer(self.handle))

    @property
    def num_heads(self) -> int:
        """Of queries, in each layer; the most where layers differ."""
        return int(C.llama_model_n_head(self.handle))

    @property
    def embedding_size(self) -> int:
        return int(C.llama_model_n_embd(self.handle))

    @property
    def pooling(self) -> str:
        """How the vectors of a text's tokens become one, the model's way: "mean", "cls", "last" or
        "rank"; the mean where it has none."""
        kind = self.meta(f"{self.meta('general.architecture')}.pooling_type")
        return _POOLINGS.get(kind, "mean")

    @property
    def size_bytes(self) -> int:
        return int(C.llama_model_size(self.handle))

    @property
    def num_parameters(self) -> int:
        return int(C.llama_model_n_params(self.handle))

    @property
    def window(self) -> int:
        """Of the layers with a sliding window, how many tokens back they see; 0 if it has none."""
        return int(C.llama_model_n_swa(self.handle))

    @property
    def has_recurrent_layers(self) -> bool:
        return bool(C.llama_model_is_recurrent(self.handle)) or self.is_hybrid

    @property
    def is_hybrid(self) -> bool:
        """Some layers are recurrent and others attend."""
        return bool(C.llama_model_is_hybrid(self.handle))

    @property
    def quantization(self) -> str:
        name: bytes = C.llama_ftype_name(C.llama_model_ftype(self.handle))
        return name.decode()

    @property
    def state_settings(self) -> dict[str, str | int | float | bool]:
        """What, besides the weights, says which number a cell holds."""
        return {
            "rope_type": int(C.llama_model_rope_type(self.handle)),
            "rope_freq_scale": float(C.llama_model_rope_freq_scale_train(self.handle)),
            "window": int(C.llama_model_n_swa(self.handle)),
        }

    def chat_template(self, name: str | None = None) -> str | None:
        """The model's own, or the one it has besides for `name`, such as "tool_use"."""
        text = C.llama_model_chat_template(self.handle, None if name is None else name.encode())
        return None if text is None else text.decode("utf-8", "replace")

    def close(self) -> None:
        if self.handle is not None:
            C.llama_model_free(self.handle)
            self.handle = None
