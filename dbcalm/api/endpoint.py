"""How a route becomes a handler: who asks is settled first, and what blocks runs in a thread.

A request costs one change of threads: in its thread the caller is looked up, and then the handler runs. What can be
told from the token alone is told before, so that a stranger's body is not even read.
"""

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from anyio import to_thread
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dbcalm.api.events import Streams
from dbcalm.api.pool import Pool
from dbcalm.api.tokens import Tokens
from dbcalm.domain.entities import Caller, Grant
from dbcalm.domain.scopes import allows
from dbcalm.domain.services import Services
from dbcalm.errors import DBCalmError, NotAllowed, NotAuthenticated

PUBLIC = "public"
"""The scope of a route that needs no token."""


@dataclass(frozen=True)
class Operation:
    """What the documentation says of a route beside its summary and description: its answers, with an example each."""

    answer: type[BaseModel] | None
    example: object = None
    status: int = 200
    refusals: Sequence[type[DBCalmError]] = ()
    request_examples: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    request_schema: Mapping[str, object] | None = None
    parameter_examples: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    response: type[Response] = JSONResponse


@dataclass
class Application:
    """What every handler can reach."""

    services: Services
    tokens: Tokens
    ordinary: Pool = field(default_factory=lambda: Pool(threads=16, waiting=200))
    passwords: Pool = field(default_factory=lambda: Pool(threads=2, waiting=20))
    streams: Streams = field(default_factory=Streams)


class Incoming:
    """A request under way: what the handler may use, and, on a route that is not public, who asks."""

    def __init__(self, request: Request) -> None:
        self.application: Application = request.app.state.application
        self.services: Services = self.application.services
        self.tokens: Tokens = self.application.tokens
        self.address = request.client.host if request.client else ""
        self.request = request
        self._caller: Caller | None = None

    @property
    def caller(self) -> Caller:
        assert self._caller is not None, "a public route has no caller"
        return self._caller

    def admit(self, scope: str) -> None:
        """Settle who asks; raise NotAuthenticated or NotAllowed."""
        grant: Grant = self.request.state.grant
        caller = self.services.auth.caller(grant.subject, grant.generation)
        scopes = tuple(one for one in grant.scopes if allows(caller.scopes, one))
        if not allows(scopes, scope):
            raise NotAllowed(f"this needs a token with the scope {scope}")
        self._caller = Caller(caller.name, scopes)


Handler = Callable[..., Response]


@dataclass(frozen=True)
class Endpoint:
    """A route as it was declared."""

    method: str
    path: str
    handler: Handler
    scope: str
    operation: Operation
    tag: str
    pool: str


class Routes:
    """The routes of one resource. Each names the scope that it needs; its handler's docstring is its documentation."""

    def __init__(self, name: str, about: str) -> None:
        self.endpoints: list[Endpoint] = []
        self.tag = {"name": name, "description": about}

    def __call__(
        self, method: str, path: str, *, scope: str, operation: Operation, pool: str = "ordinary"
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated function as the handler of this method and path."""

        def declare(handler: Handler) -> Handler:
            self.endpoints.append(Endpoint(method, path, handler, scope, operation, self.tag["name"], pool))
            return handler

        return declare


def answer(content: object, status: int = 200) -> JSONResponse:
    """Return an answer of plain values, which are not looked at again."""
    return JSONResponse(content, status)


def in_thread(endpoint: Endpoint) -> Callable[..., Coroutine[Any, Any, Response]]:
    """Return the handler as the framework calls it: on the event loop, with the bare request in the first place."""

    async def handle(request: Request, **parameters: object) -> Response:
        call = Incoming(request)

        def work() -> Response:
            if endpoint.scope != PUBLIC:
                call.admit(endpoint.scope)
            return endpoint.handler(call, **parameters)

        pool: Pool = getattr(call.application, endpoint.pool)
        return await pool.run(work)

    signature = inspect.signature(endpoint.handler)
    first = next(iter(inspect.signature(handle).parameters.values()))
    handle.__signature__ = signature.replace(  # type: ignore[attr-defined]  # what the framework reads parameters from
        parameters=[first, *list(signature.parameters.values())[1:]]
    )
    return handle


def route_class(scope: str) -> type[APIRoute]:
    """Return the kind of route that wants a token for this scope before it looks at the request's body."""

    class ScopedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def authenticated(request: Request) -> Response:
                request.state.grant = bearer(request)
                try:
                    return await handle(request)
                except RequestValidationError:
                    # Whoever may not ask is told that, and not how they should have asked.
                    await to_thread.run_sync(Incoming(request).admit, scope)
                    raise

            return authenticated

    return APIRoute if scope == PUBLIC else ScopedRoute


def bearer(request: Request) -> Grant:
    """Return what the request's token grants; raise NotAuthenticated if there is none, or it is not good."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated("this needs a token: Authorization: Bearer <token>")
    tokens: Tokens = request.app.state.application.tokens
    return tokens.read(token.strip())
