"""The routes as they are served, read from the routers."""

import json
from http import HTTPStatus
from typing import NamedTuple

from fastapi.routing import APIRoute
from httpx import Response

from dbcalm.api.security import scopes_of
from dbcalm.routes import ALL


class Served(NamedTuple):
    """A route with the scope that it needs; None for one that is public."""

    method: str
    path: str
    scope: str | None
    route: APIRoute

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def _served(route: APIRoute) -> Served:
    [method] = route.methods or ()
    scope = None
    if scopes := scopes_of(route):
        [scope] = scopes
    return Served(method, route.path, scope, route)


SERVED = [_served(route) for router in ALL for route in router.routes if isinstance(route, APIRoute)]


def fits(answer: Response) -> None:
    """Fail where an answer is not, field by field, what its route declares: handlers give JSON that nobody checks."""
    if answer.status_code >= HTTPStatus.BAD_REQUEST:
        return
    for each in SERVED:
        matches = each.route.path_regex.match(answer.request.url.path)
        if matches and each.method == answer.request.method and each.route.response_model is not None:
            content = json.loads(answer.read())
            model = each.route.response_model.model_validate(content, strict=True)
            declared = model.model_dump(by_alias=True)
            assert declared == content, (each.name, declared, content)
