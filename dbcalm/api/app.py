"""The web application, put together from the services and the routes."""

import contextlib
import threading
from collections.abc import AsyncIterator, Iterable
from functools import partial

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from dbcalm.api.deps import Application
from dbcalm.api.failures import http_failure, malformed, refused
from dbcalm.api.guard import Guard
from dbcalm.api.openapi import add_pages
from dbcalm.domain.services.assembly import Services
from dbcalm.errors import DBCalmError

_STOP_SECONDS = 0.5


def create_app(
    application: Application, routers: Iterable[APIRouter], version: str, cors_origins: Iterable[str] = ()
) -> FastAPI:
    """Return the application. While it is served, a thread keeps the catalogue up with the journal of jobs, and
    another the cron file up with the schedules, and a third makes the daily copy of the catalogue."""
    app = FastAPI(
        title="DBCalm",
        version=version,
        servers=[{"url": "/", "description": "This API"}],
        contact={"name": "DBCalm"},
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lambda _app: _followed(application.services),
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        exception_handlers={
            DBCalmError: refused,
            HTTPException: http_failure,
            RequestValidationError: malformed,
        },
    )
    app.state.application = application
    app.add_middleware(Guard)
    if origins := list(cors_origins):
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=["Location", "Retry-After"],
            max_age=3600,
        )
    for router in routers:
        # As include_router does, which looks through a router twice at each request, and adds nothing here.
        app.router.routes.extend(router.routes)
    add_pages(app)
    return app


@contextlib.asynccontextmanager
async def _followed(services: Services) -> AsyncIterator[None]:
    stop = threading.Event()
    follow = partial(services.jobs.follow, serve=services.database.serve)
    threads = [
        threading.Thread(target=work, args=(stop,), name=name, daemon=True)
        for name, work in (
            ("follower", follow),
            ("healer", services.schedules.keep_healed),
            ("copier", services.keep_copied),
        )
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        services.schedules.wake()
        # They may be waiting for a service; then they end with the program, and what is left to do comes next time.
        for thread in threads:
            thread.join(_STOP_SECONDS)
