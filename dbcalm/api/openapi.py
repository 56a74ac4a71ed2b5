"""The API's description, made from the routes as they were declared, and the page that shows it."""

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from dbcalm.api import schemas
from dbcalm.api.security import TOKEN, scopes_of

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


TAGS = {
    "auth": "Signing in, and getting a token.",
    "backups": "Making, listing and deleting backups.",
    "restores": "Bringing backups back.",
    "replaced": "What restores have replaced, which can be brought back for a while.",
    "processes": "What jobs were run, and how they stand.",
    "schedules": "When backups are made without anybody asking.",
    "cleanup": "Deleting what has expired.",
    "clients": "Programs that may use the API.",
    "status": "Whether the API is up, and whether all is well.",
}


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the API's whole description."""
    described = get_openapi(
        title=app.title,
        version=app.version,
        description=_DESCRIPTION,
        routes=app.routes,
        tags=[{"name": name, "description": about} for name, about in TAGS.items()],
        servers=app.servers,
        contact=app.contact,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute):
            for method in route.original_route.methods or ():
                _complete(described["paths"][route.path][method.lower()], route.original_route)
    described["components"]["securitySchemes"][TOKEN.scheme_name] = TOKEN.model.model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    # Read by hand, as JSON or as a form, so that the framework does not know of it.
    described["components"]["schemas"]["TokenRequest"] = schemas.auth.TokenRequest.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        described["components"]["schemas"].pop(name, None)
    return described


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    """Say of one operation what the framework says otherwise: a summary that is a sentence, the scope, our errors,
    bodies that may be left out but are not null, and examples with the fields that are."""
    summary, _, description = operation["description"].partition("\n")
    operation["summary"], operation["description"] = summary.rstrip("."), description.strip()
    operation["operationId"] = route.name
    security = operation.setdefault("security", [])
    if scopes := scopes_of(route):
        [operation["x-scope"]] = scopes
        security[:] = [{"client": [*scopes]}, {"token": []}]
    for content in operation.get("requestBody", {}).get("content", {}).values():
        content["schema"] = _not_null(content["schema"])
    responses = operation["responses"]
    for status, response in route.responses.items():
        for kind, content in response.get("content", {}).items():
            responses[str(status)]["content"][kind].update(content)
    # The framework documents its own 422 wherever there is a parameter; ours stands where it can happen.
    if "HTTPValidationError" in str(responses.get("422", "")):
        del responses["422"]
    for status, response in responses.items():
        if int(status) >= 400:
            _say_it_is_json(response["content"])


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what a body is where it is not left out."""
    if "anyOf" not in schema:
        return schema
    [found] = [one for one in schema["anyOf"] if one != {"type": "null"}]
    return dict(found)


def _say_it_is_json(content: dict[str, Any]) -> None:
    """Put a failure's schema, which the framework has put to the kind of the good answer, where it belongs."""
    for kind in [kind for kind in content if kind != "application/json"]:
        content["application/json"] |= content.pop(kind)


def add_pages(app: FastAPI) -> None:
    """Serve the description at ``/openapi.json`` and, with nothing from elsewhere, the page ``/docs``."""
    made: list[dict[str, Any]] = []

    def description() -> dict[str, Any]:
        if not made:
            made.append(describe(app))
        return made[0]

    app.openapi = description  # type: ignore[method-assign]  # the documented way to replace it

    async def openapi(_request: Request) -> Response:
        return JSONResponse(app.openapi())

    async def docs(_request: Request) -> Response:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _CONTENT_POLICY})

    app.add_route("/openapi.json", openapi, include_in_schema=False)
    app.add_route("/docs", docs, include_in_schema=False)
    app.mount("/docs/static", StaticFiles(directory=_STATIC))
