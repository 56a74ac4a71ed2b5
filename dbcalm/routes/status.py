"""Whether the API is up, and whether all is well."""

from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.endpoint import PUBLIC, Incoming, Operation, Routes, answer
from dbcalm.domain import views

routes = Routes("status", "Whether the API is up, and whether all is well.")

_OK = {"status": "ok"}


@routes("GET", "/health", scope=PUBLIC, operation=Operation(schemas.Health, _OK))
def health(call: Incoming) -> Response:  # noqa: ARG001  # every handler is called alike
    """Tell that the API is up.

    Needs no token, and says nothing about the database or the other services."""
    return answer(_OK)


@routes("GET", "/ready", scope="status:read", operation=Operation(schemas.Ready, examples.READY))
def ready(call: Incoming) -> Response:
    """Tell whether all is well, and what needs attention first.

    The same as `dbcalm status`: services, database, newest backups, the chain that a restore would use, overdue
    schedules, free space. `ok` is true where `attention` is empty."""
    return answer(views.report(call.services.status.report(lambda: True)))


@routes(
    "GET", "/protection", scope="status:read", operation=Operation(schemas.Protection, examples.PROTECTION)
)
def protection(call: Incoming) -> Response:
    """Tell how much would be lost, and how long a restore would take.

    For the chain that a restore would use now. A backup counts that can be restored as far as is known: neither it nor
    what it builds on is missing or suspect. `recovery_seconds` is what the last test restore took, scaled by size."""
    return answer(views.protection(call.services.status.protection()))
