"""Who may ask. A route names the scope that it needs: ``Security(authorized, scopes=["backups:read"])``."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer, OAuth2, SecurityScopes
from starlette.requests import Request
from starlette.responses import Response

from dbcalm.api.deps import application_of
from dbcalm.api.pool import Pool
from dbcalm.domain.model.entities import Caller, Grant
from dbcalm.domain.model.scopes import SCOPES, WILDCARDS, allows
from dbcalm.errors import NotAllowed, NotAuthenticated


class _Authorized(OAuth2):
    """The dependency. It is a security scheme itself, so that the description of a route has its scopes."""

    def __init__(self) -> None:
        super().__init__(
            scheme_name="client",
            description="A program's client id and secret",
            flows={
                "clientCredentials": {
                    "tokenUrl": "/auth/token",
                    "scopes": {**dict.fromkeys(WILDCARDS, "all of it"), **SCOPES},
                }
            },
        )

    async def __call__(self, request: Request, needed: SecurityScopes) -> Caller:  # type: ignore[override]  # not text
        """Return who asks; raise NotAuthenticated or NotAllowed."""
        return await run_in_threadpool(admit, request, needed.scopes)


authorized = _Authorized()

TOKEN = HTTPBearer(scheme_name="token", bearerFormat="JWT", description="A token that you have")
"""The same for who has a token already; it is there to be documented."""


def admit(request: Request, needed: Sequence[str]) -> Caller:
    """Return who asks, as the catalogue knows them now; raise NotAuthenticated or NotAllowed."""
    grant = _granted(request)
    caller = application_of(request).services.auth.caller(grant.subject, grant.generation)
    scopes = tuple(one for one in grant.scopes if allows(caller.scopes, one))
    for scope in needed:
        if not allows(scopes, scope):
            raise NotAllowed(f"this needs a token with the scope {scope}")
    return Caller(caller.name, scopes)


def _granted(request: Request) -> Grant:
    """Return what the request's token grants; raise NotAuthenticated if there is none, or it is not good."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated("this needs a token: Authorization: Bearer <token>")
    return application_of(request).tokens.read(token.strip())


def scopes_of(route: APIRoute) -> tuple[str, ...]:
    """Return the scopes that a route needs; none for one that is public."""
    found = (each for each in route.dependant.dependencies if each.call is authorized)
    return tuple(scope for each in found for scope in each.own_oauth_scopes or ())


class InTurn(APIRoute):
    """A route that is served in its turn: when its body has arrived, and with so many others at most.

    One that needs a token looks at it before that, so that a stranger's body is not even read."""

    pool = "ordinary"

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what serves a request."""
        handle = super().get_route_handler()
        needed = scopes_of(self)

        async def in_turn(request: Request) -> Response:
            if needed:
                _granted(request)
            await request.body()  # It is kept for the framework: nobody's turn is spent on waiting for it.
            pool: Pool = getattr(application_of(request), self.pool)
            async with pool.turn():
                try:
                    return await handle(request)
                except RequestValidationError:
                    # The framework reads JSON first. Whoever may not ask is told that, and not how to ask.
                    if needed:
                        await run_in_threadpool(admit, request, needed)
                    raise

        return in_turn


class InTurnForPasswords(InTurn):
    """One that is slow on purpose, so that it does not fill the ordinary turns."""

    pool = "passwords"
