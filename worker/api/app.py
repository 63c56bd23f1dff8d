"""The worker's HTTP application, assembled."""

from __future__ import annotations

from fastapi import Depends, FastAPI

from pool_core import __version__
from worker.api.deps import require_token
from worker.api.errors import install_error_handlers
from worker.api.request_id import RequestId
from worker.api.routes import execute, health, models, openai_chat, self_test
from worker.api.service import Service
from worker.api.unread_body import UnreadBody


def create_app(service: Service) -> FastAPI:
    """An app over `service`, which need not be ready yet. Only `/health` is open to everybody."""
    # Bodies are read whatever their Content-Type, which FastAPI's own description cannot say.
    app = FastAPI(title="llorch worker", version=__version__, openapi_url=None)
    app.state.service = service
    app.include_router(health.router)
    for routes in (execute, openai_chat, models, self_test):
        app.include_router(routes.router, dependencies=[Depends(require_token)])
    install_error_handlers(app)
    app.add_middleware(UnreadBody)
    app.add_middleware(RequestId)
    return app
