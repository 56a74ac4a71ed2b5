"""The web application, put together from the services and the routes."""

import contextlib
import threading
from collections.abc import AsyncIterator, Iterable, Sequence

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from dbcalm.api.endpoint import Application, Endpoint, Routes, in_thread, route_class
from dbcalm.api.failures import http_failure, malformed, refused
from dbcalm.api.guard import Guard
from dbcalm.api.openapi import add_pages, answers, extra
from dbcalm.domain.jobs import Jobs
from dbcalm.errors import DBCalmError

_STOP_SECONDS = 0.5


def create_app(
    application: Application, resources: Sequence[Routes], version: str, cors_origins: Iterable[str] = ()
) -> FastAPI:
    """Return the application. While it is served, a thread keeps the catalogue up with the journal of jobs."""
    app = FastAPI(
        title="DBCalm",
        version=version,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lambda _app: _followed(application.services.jobs),
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
        responses=answers(endpoint),
        tags=[endpoint.tag],
        summary=summary.strip().rstrip("."),
        description=description,
        operation_id=endpoint.handler.__name__,
        openapi_extra=extra(endpoint),
        route_class_override=route_class(endpoint.scope),
    )


@contextlib.asynccontextmanager
async def _followed(jobs: Jobs) -> AsyncIterator[None]:
    stop = threading.Event()
    follower = threading.Thread(target=jobs.follow, args=(stop,), name="follower", daemon=True)
    follower.start()
    try:
        yield
    finally:
        stop.set()
        # It may be waiting for the service; then it ends with the program, and what it would write comes next time.
        follower.join(_STOP_SECONDS)
