"""The API's description, made from the routes as they were declared, and the page that shows it."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from dbcalm import errors
from dbcalm.api import examples, schemas
from dbcalm.api.endpoint import PUBLIC, Endpoint, Routes
from dbcalm.api.failures import STATUS
from dbcalm.domain.scopes import SCOPES, WILDCARDS

_STATIC = Path(__file__).parent / "static"

_DESCRIPTION = """Backs MariaDB and MySQL up, and brings them back.

Sign in with `POST /auth/authorize` and change the code for a token with `POST /auth/token`, or get a token for a
program with its client id and secret (the button *Authorize* does that). Send it as `Authorization: Bearer <token>`.

Backups and restores take time: their calls answer 202 with a `link`, which tells how the job stands.

Lists take `query`, conditions joined by commas: `field|value`, `field|op|value` with `eq ne gt gte lt lte in nin`,
`field|isnull` or `field|isnotnull`. `ne` and `nin` do not match empty fields. They take `order`, such as
`start_time|desc,id|asc`, `page` and `per_page`. In a query string the `+` of a time's offset is `%2B`; or use `Z`.

Errors are `{"detail": "<one sentence>"}`.
"""

_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>DBCalm API</title>
<link rel="icon" href="/docs/static/swagger/favicon-32x32.png">
<link rel="stylesheet" href="/docs/static/swagger/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="/docs/static/swagger/swagger-ui-bundle.js"></script>
<script src="/docs/static/docs.js"></script>
</body>
</html>
"""


def answers(endpoint: Endpoint) -> dict[int | str, dict[str, Any]]:
    """Return all answers that a route can give, by status, as the framework documents them."""
    operation = endpoint.operation
    found: dict[int | str, dict[str, Any]] = {operation.status: {"description": "Done"}}
    if operation.example is not None:
        kind = operation.response.media_type or "application/json"
        found[operation.status]["content"] = {kind: {"example": operation.example}}
    refusals = [*operation.refusals]
    if endpoint.scope != PUBLIC:
        refusals += [errors.NotAuthenticated, errors.NotAllowed, errors.Unavailable]
    for refusal in dict.fromkeys(refusals):
        _document(found, refusal)
    return dict(sorted(found.items(), key=lambda item: int(item[0])))


def _document(found: dict[int | str, dict[str, Any]], refusal: type[errors.DBCalmError]) -> None:
    status = STATUS[refusal]
    sentence = examples.REFUSALS[refusal.__name__]
    example: dict[str, object] = {"detail": sentence}
    if status == STATUS[errors.InvalidRequest]:
        example["errors"] = [{"loc": ["body", "type"], "msg": sentence, "type": "literal_error"}]
    entry = found.setdefault(
        status,
        {
            "model": schemas.Invalid if "errors" in example else schemas.Failure,
            "description": " ".join(inspect.cleandoc(refusal.__doc__ or "").split()),
            "content": {"application/json": {"examples": {}}},
        },
    )
    entry["content"]["application/json"]["examples"][refusal.__name__] = {
        "summary": sentence,
        "value": example,
    }


def extra(endpoint: Endpoint) -> dict[str, Any]:
    """Return what the framework cannot know of a route: the token that it needs, and a body that it does not read."""
    found: dict[str, Any] = {}
    if endpoint.scope != PUBLIC:
        found["security"] = [{"client": [endpoint.scope]}, {"token": []}]
        found["x-scope"] = endpoint.scope
    operation = endpoint.operation
    if operation.request_schema is not None:
        found["requestBody"] = {
            "required": True,
            "content": {
                kind: {"schema": operation.request_schema, "examples": operation.request_examples}
                for kind in ("application/json", "application/x-www-form-urlencoded")
            },
        }
    elif operation.request_examples:
        found["requestBody"] = {"content": {"application/json": {"examples": operation.request_examples}}}
    return found


def describe(app: FastAPI, resources: Sequence[Routes]) -> dict[str, Any]:
    """Return the API's whole description."""
    examples_of = {
        (endpoint.method, endpoint.path): endpoint.operation.parameter_examples
        for resource in resources
        for endpoint in resource.endpoints
    }
    described = get_openapi(
        title=app.title,
        version=app.version,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=[resource.tag for resource in resources],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    components = described.setdefault("components", {})
    components["securitySchemes"] = {
        "client": {
            "type": "oauth2",
            "description": "A program's client id and secret",
            "flows": {
                "clientCredentials": {
                    "tokenUrl": "/auth/token",
                    "scopes": {**dict.fromkeys(WILDCARDS, "all of it"), **SCOPES},
                }
            },
        },
        "token": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token that you have",
        },
    }
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            shown = examples_of.get((method.upper(), path), {})
            for parameter in operation.get("parameters", ()):
                if found := shown.get(parameter["name"]):
                    parameter["examples"] = found
    # The framework documents its own 422 wherever there is a parameter; ours stands where it can happen.
    for path in described["paths"].values():
        for operation in path.values():
            if "HTTPValidationError" in str(operation["responses"].get("422", "")):
                del operation["responses"]["422"]
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    _say_it_is_json(response["content"])
    for name in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(name, None)
    return described


def _say_it_is_json(content: dict[str, Any]) -> None:
    """Put a failure's schema, which the framework has put to the kind of the good answer, where it belongs."""
    for kind in [kind for kind in content if kind != "application/json"]:
        content["application/json"] |= content.pop(kind)


def add_pages(app: FastAPI, resources: Sequence[Routes]) -> None:
    """Serve the description at ``/openapi.json`` and, with nothing from elsewhere, the page ``/docs``."""
    made: list[dict[str, Any]] = []

    def description() -> dict[str, Any]:
        if not made:
            made.append(describe(app, resources))
        return made[0]

    app.openapi = description  # type: ignore[method-assign]  # the documented way to replace it

    async def openapi(_request: Request) -> Response:
        return JSONResponse(app.openapi())

    async def docs(_request: Request) -> Response:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _CONTENT_POLICY})

    app.add_route("/openapi.json", openapi, include_in_schema=False)
    app.add_route("/docs", docs, include_in_schema=False)
    app.mount("/docs/static", StaticFiles(directory=_STATIC))
