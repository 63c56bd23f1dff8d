"""`POST /self-test`: does this worker say the same alone, in company, and after a restore?"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from pydantic import Field

from pool_core.errors import LlorchError
from worker.api.body import Body, read_body
from worker.api.deps import ModelDep
from worker.api.describe import takes
from worker.api.errors import ApiError
from worker.api.sse import PING_EVERY_S, EventStream, encode
from worker.engine.errors import EngineStopped
from worker.log import request_id
from worker.self_test.compare import TOLERANCE
from worker.self_test.result import to_dict
from worker.self_test.run import SelfTest

router = APIRouter()
_NUM_SEEDS = 1 << 20


class SelfTestRequest(Body):
    """`tolerance` is how far ordinary requests may be apart, in nats."""

    tolerance: float = Field(default=TOLERANCE, ge=0, le=100)


@router.post("/self-test", **takes(SelfTestRequest))
async def self_test(request: Request, model: ModelDep) -> EventStream:
    body = await read_body(request, SelfTestRequest)
    try:
        test = await asyncio.to_thread(
            SelfTest,
            model.engine,
            model.vocab,
            model.memory,
            tolerance=body.tolerance,
            seed=1 + secrets.randbelow(_NUM_SEEDS),
        )
    except LlorchError as error:
        raise ApiError(400, "SELF_TEST_IMPOSSIBLE", str(error)) from None
    return EventStream(_stream(test), ping_every_s=PING_EVERY_S)


async def _stream(test: SelfTest) -> AsyncGenerator[bytes, None]:
    try:
        async with aclosing(test.run()) as reports:
            async for report in reports:
                yield encode(to_dict(report))
    except EngineStopped as error:
        yield encode(
            {
                "type": "error",
                "code": "DRAINING",
                "message": str(error),
                "retriable": True,
                "request_id": request_id.get(),
            }
        )
