"""Bringing a model up, and saying in one line why it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pool_core.spawn.report import WorkerExit
from worker.engine.runner import ModelInfo
from worker.engine.slots import CELLS_PER_BLOCK, blocks_for
from worker.llama.context import Context, ContextError, ContextOptions
from worker.llama.devices import Device, cpu_device, select_devices
from worker.llama.errors import LoadError
from worker.llama.library import LogLines, build, captured_log
from worker.llama.model import Model
from worker.llama.options import DEFAULT_MAX_CTX, KV_TYPES, LoadOptions
from worker.llama.placement import Placement

# One decode takes at most this many tokens of prompts, besides a token for each slot: enough to
# keep a processor busy, few enough that those who stream hardly notice.
PROMPT_TOKENS_PER_STEP = 256


@dataclass(frozen=True, slots=True)
class LoadedModel:
    options: LoadOptions
    model: Model
    shared: Context
    context_options: ContextOptions
    info: ModelInfo


def load(options: LoadOptions, on_progress: Callable[[float], None]) -> LoadedModel:
    """Load the model and make its shared context. Raises LoadError, having freed everything."""
    devices = select_devices(options.backend, options.rpc, options.gpu)
    with captured_log() as lines:
        model = Model.load(options, devices, on_progress)
        if model is None:
            raise _bad_model(options, lines)
        try:
            _check_placement(Placement.read(lines.text, devices), options, devices)
            context_options = _context_options(options, model, devices)
            shared = _make_context(model, context_options, lines)
        except LoadError:
            model.close()
            raise
    placement = Placement.read(lines.text, devices)
    info = _info(model, context_options, placement, devices or [cpu_device()])
    return LoadedModel(options, model, shared, context_options, info)


def _context_options(options: LoadOptions, model: Model, devices: list[Device]) -> ContextOptions:
    ctx = options.ctx or min(model.context_length or DEFAULT_MAX_CTX, DEFAULT_MAX_CTX)
    return ContextOptions(
        num_cells=blocks_for(ctx) * CELLS_PER_BLOCK,
        num_seqs=options.slots,
        max_batch=PROMPT_TOKENS_PER_STEP + options.slots,
        num_threads=options.num_threads,
        kv_type=KV_TYPES[options.kv_type],
        on_device=bool(devices),
    )


def _make_context(model: Model, options: ContextOptions, lines: LogLines) -> Context:
    try:
        return Context(model.handle, model.vocab.size, options)
    except ContextError as error:
        raise LoadError(
            f"{error}: {_last_error(lines)}",
            WorkerExit.CONTEXT_TOO_LARGE,
            "choose a smaller --ctx or a smaller --kv-type",
        ) from None


def _check_placement(placement: Placement, options: LoadOptions, devices: list[Device]) -> None:
    if placement.is_complete:
        return
    where = ", ".join(device.name for device in devices) or "the CPU"
    fallen = f"; {placement.fallbacks[0]} stayed on the CPU" if placement.fallbacks else ""
    raise LoadError(
        f"{placement.layers_on_device} of {placement.layers_total} layers are on {where}{fallen}",
        WorkerExit.NOT_ON_DEVICE,
        "use a device with more memory, a smaller model, or --backend cpu",
    )


def _bad_model(options: LoadOptions, lines: LogLines) -> LoadError:
    return LoadError(
        f"{options.model_path}: expected a GGUF model, found: {_last_error(lines)}",
        WorkerExit.BAD_MODEL,
        "llorch-pool models verify",
    )


def _last_error(lines: LogLines) -> str:
    return "\n".join(lines.errors)


def _info(
    model: Model, context: ContextOptions, placement: Placement, devices: list[Device]
) -> ModelInfo:
    return ModelInfo(
        architecture=model.meta("general.architecture"),
        name=model.meta("general.name"),
        quantization=model.quantization,
        context_length_train=model.context_length,
        context_length=min(context.num_cells, model.context_length or context.num_cells),
        num_cells=context.num_cells,
        num_layers=model.num_layers,
        layers_on_device=placement.layers_on_device,
        layers_total=placement.layers_total,
        bytes_on_device=placement.bytes_on_device,
        device=", ".join(f"{d.name} ({d.description})" for d in devices),
        build=build(),
        chat_template=model.chat_template,
        bos_token=model.vocab.bos_token,
        eos_token=model.vocab.eos_token,
        size_bytes=model.size_bytes,
        num_parameters=model.num_parameters,
    )
