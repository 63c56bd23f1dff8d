"""What is asked of the model beside generation, and its refusals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from worker.api.errors import ApiError
from worker.api.generate import busy, stopping
from worker.api.service import LoadedModel
from worker.engine.errors import EngineBusy, EngineStopped
from worker.engine.runner import ModelRunner, RunnerError, Sample
from worker.engine.side_work import Pieces

T = TypeVar("T")


async def score(model: LoadedModel, tokens: Sequence[int], num_top: int) -> list[Sample]:
    """How likely each token was after those before it. Raises ApiError as `compute`."""
    return await compute(model, lambda runner: runner.score(tokens, num_top))


async def embed(model: LoadedModel, tokens: Sequence[int]) -> NDArray[np.float32]:
    """The text's vector, of length 1. Raises ApiError as `compute`."""
    return await compute(model, lambda runner: runner.embed(tokens))


async def compute(model: LoadedModel, begin: Callable[[ModelRunner], Pieces[T]]) -> T:
    """Raises ApiError: 429 when too much is in flight, 503 when stopping, 500 or 503 when it
    cannot be computed."""
    try:
        return await model.engine.compute(begin)
    except EngineBusy as error:
        raise busy(error) from None
    except EngineStopped as error:
        raise stopping(error) from None
    except RunnerError as error:
        if error.retriable:
            raise ApiError(503, error.code, str(error), retry_after_s=1) from None
        raise ApiError(500, error.code, str(error)) from None
