"""What goes wrong, in HTTP's words. One table says which status an error has; answers and documentation both use it."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from dbcalm import errors
from dbcalm.api.wording import sentence as sentence_of
from dbcalm.logger import log

STATUS: Mapping[type[errors.DBCalmError], int] = {
    errors.InvalidQuery: 400,
    errors.InvalidRequest: 422,
    errors.InvalidField: 422,
    errors.RuleBroken: 400,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Busy: 409,
    errors.Unavailable: 503,
    errors.NoSpace: 507,
    errors.ServiceFailed: 500,
    errors.NotAuthenticated: 401,
    errors.NotAllowed: 403,
    errors.WrongCredentials: 401,
    errors.InvalidGrant: 400,
    errors.Throttled: 429,
    errors.CannotStart: 500,
    errors.InvalidConfig: 500,
    errors.CatalogueError: 500,
    errors.CatalogueDamaged: 500,
}

_RETRY_SECONDS = 5
_SAY_STATUS_TOO = {("POST", "/backups"), ("POST", "/restore"), ("POST", "/restores")}
"""Refusals of these have their sentence in ``status`` as well: clients show it from there."""

FAILED = "DBCalm failed to answer; its log says why"
"""All that is told of an error that nobody expected."""

_SENTENCES = {
    404: "there is nothing at this address; /docs shows what there is",
    405: "this address does not take this method; /docs shows what it takes",
    500: FAILED,
}


def failure(
    method: str,
    path: str,
    status: int,
    sentence: str,
    headers: Mapping[str, str] | None = None,
    **more: object,
) -> JSONResponse:
    """Return the answer to a request that went wrong."""
    body: dict[str, object] = {"detail": sentence}
    if (method, path) in _SAY_STATUS_TOO:
        body["status"] = sentence
    return JSONResponse({**body, **more}, status, headers)


def _headers(error: errors.DBCalmError, status: int) -> dict[str, str]:
    if status == HTTPStatus.UNAUTHORIZED:
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, errors.Throttled):
        return {"Retry-After": str(error.retry_after)}
    return {"Retry-After": str(_RETRY_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}


async def refused(request: Request, error: Exception) -> JSONResponse:
    """Answer with an error of ours."""
    assert isinstance(error, errors.DBCalmError)
    status = STATUS[type(error)]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("%s %s: %s", request.method, request.url.path, error)
    more: dict[str, object] = {}
    if isinstance(error, errors.InvalidField):
        more["errors"] = [{"loc": ["body", error.field], "msg": str(error), "type": "value_error"}]
    elif isinstance(error, errors.InvalidRequest) and status == HTTPStatus.UNPROCESSABLE_ENTITY:
        more["errors"] = [{"loc": ["body"], "msg": str(error), "type": "value_error"}]
    elif isinstance(error, errors.InvalidGrant):
        more = {"error": error.reason, "error_description": str(error)}
    return failure(request.method, request.url.path, status, str(error), _headers(error, status), **more)


async def malformed(request: Request, error: Exception) -> JSONResponse:
    """Answer to a body or parameter of the wrong form, without repeating what was sent."""
    assert isinstance(error, RequestValidationError)
    return invalid(request, error.errors())


def invalid(request: Request, found: Sequence[Mapping[str, Any]]) -> JSONResponse:
    """Answer 422 with these mistakes, each with ``loc``, ``msg`` and ``type``."""
    mistakes = [{"loc": list(each["loc"]), "msg": sentence_of(each), "type": each["type"]} for each in found]
    place = [str(part) for part in mistakes[0]["loc"][1:] if isinstance(part, str)]
    sentence = f"{'.'.join(place) or 'the body'}: {mistakes[0]['msg']}"
    return failure(request.method, request.url.path, 422, sentence, errors=mistakes)


async def http_failure(request: Request, error: Exception) -> JSONResponse:
    """Answer to what the framework refuses: unknown addresses, methods, too large bodies."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.BAD_REQUEST:  # The framework's word for a body that is not even text.
        return invalid(
            request, [{"loc": ("body",), "ctx": {"error": "its bytes are not UTF-8"}, "type": "json_invalid"}]
        )
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed(request))
    sentence = _SENTENCES.get(error.status_code, error.detail)
    return failure(request.method, request.url.path, error.status_code, sentence, headers)


def _allowed(request: Request) -> list[str]:
    """Return the methods that this address takes; the framework would name those of one route only."""
    found: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        if route.methods and route.path_regex.match(request.url.path):
            found |= route.methods
    return sorted(found)
