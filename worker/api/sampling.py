"""What a request asks of sampling, made ready for the model that is loaded."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from worker.api.errors import ApiError
from worker.api.service import LoadedModel
from worker.engine.constraint import Constraint, ConstraintCompiler, ConstraintSpec
from worker.engine.params import InvalidParam, SamplingParams

COMPILE_LIMIT_S = 10.0

# Threads of their own: forms that take long keep waiting no more than other forms.
_compiling = ThreadPoolExecutor(max_workers=2, thread_name_prefix="compile")


async def ready_params(
    model: LoadedModel, params: SamplingParams, form: ConstraintSpec | None
) -> SamplingParams:
    """With the form compiled. Raises InvalidParam, or ApiError 503 when too many are waiting."""
    params.check_tokens(model.vocab.size)
    if form is None:
        return params
    if model.compiler is None:
        raise InvalidParam(form.field, "is not supported by this worker")
    return replace(params, constraint=await _compile(model.compiler, form))


async def _compile(compiler: ConstraintCompiler, form: ConstraintSpec) -> Constraint:
    work = _compiling.submit(compiler.compile, form)
    try:
        async with asyncio.timeout(COMPILE_LIMIT_S):
            return await asyncio.wrap_future(work)
    except TimeoutError:
        if work.cancelled():  # its turn never came
            message = "too many grammars are being compiled"
            raise ApiError(503, "BUSY", message, retry_after_s=COMPILE_LIMIT_S) from None
        reason = f"takes more than {COMPILE_LIMIT_S:g} s to compile"
        raise InvalidParam(form.field, reason) from None
