"""Whether the API is up."""

from starlette.responses import Response

from dbcalm.api import schemas
from dbcalm.api.endpoint import PUBLIC, Incoming, Operation, Routes, answer

routes = Routes("health", "Whether the API is up.")

_OK = {"status": "ok"}


@routes("GET", "/health", scope=PUBLIC, operation=Operation(schemas.Health, _OK))
def health(call: Incoming) -> Response:  # noqa: ARG001  # every handler is called alike
    """Tell that the API is up.

    Needs no token, and says nothing about the database or the other services."""
    return answer(_OK)
