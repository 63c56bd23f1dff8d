"""The worker's HTTP application, assembled."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from pool_core import __version__
from worker.api.describe import describe
from worker.api.doors import Doors
from worker.api.errors import install_error_handlers
from worker.api.rates import HEADERS as RATE_HEADERS
from worker.api.request_id import HEADER, RequestId
from worker.api.routes import (
    agent_files,
    agents,
    anthropic,
    execute,
    health,
    metrics,
    models,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_responses,
    props,
    self_test,
    tokenizer,
)
from worker.api.service import Service
from worker.api.unread_body import UnreadBody


def create_app(service: Service) -> FastAPI:
    """An app over `service`, which need not be ready yet. Only `/health` is open to everybody."""
    # FastAPI would describe its own error bodies, and load the page for /docs from elsewhere.
    app = FastAPI(title="llorch worker", version=__version__, openapi_url=None)
    app.state.service = service
    app.state.routes = []
    for routes in (
        health,
        metrics,
        execute,
        agents,
        agent_files,
        anthropic,
        openai_chat,
        openai_completions,
        openai_embeddings,
        openai_responses,
        models,
        tokenizer,
        props,
        self_test,
    ):
        app.include_router(routes.router)
        app.state.routes += routes.router.routes
    describe(app)
    install_error_handlers(app)
    # The last one added is the outermost.
    app.add_middleware(Doors, settings=service.settings, metrics=service.metrics)
    app.add_middleware(UnreadBody)
    if service.settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=service.settings.cors,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["*"],
            expose_headers=[HEADER, "request-id", "retry-after", *RATE_HEADERS],
        )
    app.add_middleware(RequestId, metrics=service.metrics)
    return app
