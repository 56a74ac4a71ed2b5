"""The web application, put together from the services and the routes."""

import contextlib
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from dbcalm.api.endpoint import Application, Endpoint, Routes, in_thread, route_class
from dbcalm.api.failures import http_failure, malformed, refused
from dbcalm.api.guard import Guard
from dbcalm.api.openapi import add_pages, answers, extra
from dbcalm.domain.services import Services
from dbcalm.errors import DBCalmError

_STOP_SECONDS = 0.5


def create_app(
    application: Application, resources: Sequence[Routes], version: str, cors_origins: Iterable[str] = ()
) -> FastAPI:
    """Return the application. While it is served, a thread keeps the catalogue up with the journal of jobs, and
    another the cron file up with the schedules, and a third makes the daily copy of the catalogue."""
    app = FastAPI(
        title="DBCalm",
        version=version,
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
    for resource in resources:
        for endpoint in resource.endpoints:
            _add(app, endpoint)
    add_pages(app, resources)
    return app


def _add(app: FastAPI, endpoint: Endpoint) -> None:
    """Serve one route and document it: the handler's name, and the first line and the rest of its docstring."""
    summary, _, description = (endpoint.handler.__doc__ or "").partition("\n")
    app.router.add_api_route(
        endpoint.path,
        in_thread(endpoint),
        methods=[endpoint.method],
        status_code=endpoint.operation.status,
        response_model=endpoint.operation.answer,
        response_class=endpoint.operation.response,
        responses=answers(endpoint),
        tags=[endpoint.tag],
        summary=summary.strip().rstrip("."),
        description=description,
        operation_id=endpoint.handler.__name__,
        openapi_extra=extra(endpoint),
        route_class_override=route_class(endpoint.scope),
    )


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
