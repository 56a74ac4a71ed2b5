"""Who may ask. A route names the scope that it needs: ``Security(authorized, scopes=["backups:read"])``."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any

from fastapi import Depends
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer, OAuth2, SecurityScopes
from starlette.requests import Request
from starlette.responses import Response

from dbcalm.api.deps import Application
from dbcalm.domain.entities import Caller, Grant
from dbcalm.domain.scopes import SCOPES, WILDCARDS, allows
from dbcalm.errors import NotAllowed, NotAuthenticated

_CLIENT = OAuth2(
    scheme_name="client",
    description="A program's client id and secret",
    flows={
        "clientCredentials": {
            "tokenUrl": "/auth/token",
            "scopes": {**dict.fromkeys(WILDCARDS, "all of it"), **SCOPES},
        }
    },
    auto_error=False,
)
_TOKEN = HTTPBearer(
    scheme_name="token", bearerFormat="JWT", description="A token that you have", auto_error=False
)


def authorized(
    request: Request,
    needed: SecurityScopes,
    _client: Annotated[object, Depends(_CLIENT)],
    _token: Annotated[object, Depends(_TOKEN)],
) -> Caller:
    """Return who asks; raise NotAuthenticated or NotAllowed. The two schemes are there to be documented."""
    return admit(request, needed.scopes)


def admit(request: Request, needed: Sequence[str]) -> Caller:
    """Return who asks, as the catalogue knows them now; raise NotAuthenticated or NotAllowed."""
    application: Application = request.app.state.application
    grant = _granted(request)
    caller = application.services.auth.caller(grant.subject, grant.generation)
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
    application: Application = request.app.state.application
    return application.tokens.read(token.strip())


def scopes_of(route: APIRoute) -> tuple[str, ...]:
    """Return the scopes that a route needs; none for one that is public."""
    found = (each for each in route.dependant.dependencies if each.call is authorized)
    return tuple(scope for each in found for scope in each.own_oauth_scopes or ())


class TokenFirst(APIRoute):
    """A route that looks at the token before the request's body, so that a stranger's body is not even read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what serves a request."""
        handle = super().get_route_handler()
        needed = scopes_of(self)

        async def handle_known(request: Request) -> Response:
            _granted(request)
            try:
                return await handle(request)
            except RequestValidationError:
                # The framework reads JSON first. Whoever may not ask is told that, and not how they should have asked.
                await run_in_threadpool(admit, request, needed)
                raise

        return handle_known if needed else handle
