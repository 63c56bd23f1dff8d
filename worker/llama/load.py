"""Bringing a model up, and saying in one line why it cannot be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pool_core.errors import LlorchError
from pool_core.gguf import GgufHeader, HeaderError, read_header
from pool_core.spawn.report import WorkerExit
from worker.engine.blocks import CELLS_PER_BLOCK, blocks_for
from worker.engine.runner import Layout, MemoryTraits, ModelInfo, RunnerError
from worker.llama.context import Context, ContextError, ContextOptions
from worker.llama.devices import Device, cpu_device, select_devices
from worker.llama.errors import LoadError
from worker.llama.fit import check_fit, check_unified_fits, unified_buffers
from worker.llama.interrupt import Interrupt
from worker.llama.layouts import laid_out, layouts_for
from worker.llama.library import LogLines, build, captured_log
from worker.llama.memory import learn_layout, memory_kind, memory_traits
from worker.llama.model import Model
from worker.llama.options import DEFAULT_MAX_CTX, KV_TYPES, LoadOptions, default_threads
from worker.llama.placement import Placement
from worker.llama.state import StateLayout

# Tokens of prompts in one step, besides one for each slot: enough to keep a processor busy, few
# enough that those who stream hardly notice. The same as a reproducible prompt's chunk.
PROMPT_TOKENS_PER_STEP = CELLS_PER_BLOCK
# Tokens of guesses in one step.
DRAFT_TOKENS_PER_STEP = 32
# Sequences that are kept, besides those that run. Of recurrent models each costs memory.
_KEPT_SEQS, _KEPT_RECURRENT_SEQS = 48, 4
_MAX_SEQS = 256  # llama.cpp's


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model on its devices, with the context that its sequences share, in the first of its
    layouts.

    `context_options` are those of the unified layout. `state_layout` is what its states look
    like, None where that is not known. `compute_bytes` are the buffers that the largest of the
    shared contexts computes in, without its cells.
    """

    model: Model
    devices: Sequence[Device]
    shared: Context
    context_options: ContextOptions
    interrupt: Interrupt
    layouts: Sequence[Layout]
    state_layout: StateLayout | None
    compute_bytes: int
    info: ModelInfo
    memory: MemoryTraits


def load(options: LoadOptions, on_progress: Callable[[float], None]) -> LoadedModel:
    """Load the model and make its shared context. Raises LoadError, having freed everything."""
    devices = select_devices(options.backend, options.rpc, options.gpu)
    header = _read_header(options)
    context_options = _context_options(options, header, devices)
    check_fit(header, context_options, options.kv_type, devices)
    interrupt = Interrupt()
    with captured_log() as lines:
        model = Model.load(options.model_path, devices, on_progress)
        if model is None:
            raise _refused(options, lines)
        if model.has_recurrent_layers:
            num_seqs = min(_MAX_SEQS, options.slots + _KEPT_RECURRENT_SEQS)
            context_options = replace(context_options, num_seqs=num_seqs, num_rows=num_seqs)
        try:
            _check_placement(Placement.read(lines.text, devices), devices)
            if memory_kind(model) == "full" and options.kv_type == "f16" and not devices:
                context_options = replace(context_options, score_bytes=4 * model.num_heads)
            layouts = layouts_for(options, context_options, memory_kind(model))
            start = laid_out(context_options, layouts[0])
            shared = _make_context(model, start, interrupt, lines)
            check_unified_fits(layouts, context_options.max_batch, devices, shared)
        except LoadError:
            model.close()
            raise
        try:
            state_layout = learn_layout(model, shared)
        except RunnerError as error:
            shared.close()
            model.close()
            reason = f"the model does not compute: {error}"
            raise LoadError(reason, WorkerExit.FAILED) from None
    placement = Placement.read(lines.text, devices)
    more = unified_buffers(layouts, context_options.max_batch)
    return LoadedModel(
        model=model,
        devices=devices,
        shared=shared,
        context_options=context_options,
        interrupt=interrupt,
        layouts=layouts,
        state_layout=state_layout,
        compute_bytes=placement.compute_bytes + more,
        info=_info(model, layouts, placement, devices or [cpu_device()]),
        memory=memory_traits(model, state_layout),
    )


def _read_header(options: LoadOptions) -> GgufHeader:
    """llama.cpp ends the process over some broken files: what can be seen first is seen first."""
    try:
        return read_header(options.model_path)
    except HeaderError as error:
        raise LoadError(
            error.message,
            WorkerExit.BAD_MODEL,
            error.remedy,
            path=str(error.path),
            expected=error.expected,
            found=error.found,
        ) from None
    except LlorchError as error:
        raise LoadError(error.message, WorkerExit.BAD_MODEL, error.remedy) from None


def _context_options(
    options: LoadOptions, header: GgufHeader, devices: Sequence[Device]
) -> ContextOptions:
    ctx = options.ctx or min(header.context_length or DEFAULT_MAX_CTX, DEFAULT_MAX_CTX)
    num_seqs = min(_MAX_SEQS, options.slots + _KEPT_SEQS)
    return ContextOptions(
        num_cells=blocks_for(ctx) * CELLS_PER_BLOCK,
        num_seqs=num_seqs,
        num_rows=num_seqs,
        max_batch=PROMPT_TOKENS_PER_STEP + DRAFT_TOKENS_PER_STEP + options.slots,
        num_threads=options.threads or default_threads(options.model_path),
        kv_type=KV_TYPES[options.kv_type],
        on_device=bool(devices),
    )


def _make_context(
    model: Model, options: ContextOptions, interrupt: Interrupt, lines: LogLines
) -> Context:
    try:
        return Context(model.handle, model.vocab.size, options, interrupt)
    except ContextError as error:
        reason = lines.reason
        is_memory = "alloc" in reason or "memory" in reason
        is_type = not is_memory and "cache" in reason  # "K cache type … does not divide …"
        raise LoadError(
            f"{error}: {reason}",
            WorkerExit.CONTEXT_TOO_LARGE if is_memory else WorkerExit.FAILED,
            "choose --kv-type f16" if is_type else "choose a smaller --ctx or another --kv-type",
        ) from None


def _check_placement(placement: Placement, devices: Sequence[Device]) -> None:
    if placement.is_complete:
        return
    where = ", ".join(device.name for device in devices) or "the CPU"
    stayed = f"; {placement.fallbacks[0]} stayed on the CPU" if placement.fallbacks else ""
    raise LoadError(
        f"{placement.layers_on_device} of {placement.layers_total} layers are on {where}{stayed}",
        WorkerExit.NOT_ON_DEVICE,
        "use a device with more memory, a smaller model, or the backend cpu",
        layers_on_device=placement.layers_on_device,
        layers_total=placement.layers_total,
    )


def _refused(options: LoadOptions, lines: LogLines) -> LoadError:
    """llama.cpp would not load the file: for want of memory, or because of what is in it."""
    reason = lines.reason
    if "unable to allocate" in reason or "failed to allocate" in reason:
        return LoadError(
            f"{options.model_path}: {reason}",
            WorkerExit.OUT_OF_MEMORY,
            "use a device with more memory, or a smaller model",
        )
    return LoadError(
        f"{options.model_path}: expected a model that llama.cpp can load, found: {reason}",
        WorkerExit.BAD_MODEL,
        "download it again, or choose a model of a supported architecture",
        path=str(options.model_path),
        expected="a model that llama.cpp can load",
        found=reason,
    )


def _info(
    model: Model, layouts: Sequence[Layout], placement: Placement, devices: Sequence[Device]
) -> ModelInfo:
    longest = max(layout.slot_cells for layout in layouts)
    return ModelInfo(
        architecture=model.meta("general.architecture"),
        name=model.meta("general.name"),
        quantization=model.quantization,
        context_length_train=model.context_length,
        context_length=min(longest, model.context_length or longest),
        num_cells=max(layout.num_cells for layout in layouts),
        num_layers=model.num_layers,
        layers_on_device=placement.layers_on_device,
        layers_total=placement.layers_total,
        bytes_on_device=placement.bytes_on_device,
        device=", ".join(str(device) for device in devices),
        build=build(),
        chat_template=model.chat_template(),
        tool_chat_template=model.chat_template("tool_use"),
        bos_token=model.vocab.bos_token,
        eos_token=model.vocab.eos_token,
        size_bytes=model.size_bytes,
        num_parameters=model.num_parameters,
        state_settings=model.state_settings,
        pooling=model.pooling,
        embedding_size=model.embedding_size,
    )
