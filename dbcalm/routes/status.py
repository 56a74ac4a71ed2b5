"""Whether the API is up, and whether all is well."""

from fastapi import APIRouter, Security
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.deps import Services
from dbcalm.api.responses import PROTECTED, TOO_LONG, Ready, shown
from dbcalm.api.security import InTurn, authorized
from dbcalm.domain.model import views

router = APIRouter(tags=["status"], route_class=InTurn, responses=PROTECTED)
public = APIRouter(tags=["status"], route_class=InTurn)

_OK = {"status": "ok"}


@public.get("/health", response_model=schemas.status.Health, responses=shown(_OK) | TOO_LONG)
def health() -> Response:
    """Tell that the API is up.

    Needs no token, and says nothing about the database or the other services."""
    return Ready(_OK)


@router.get(
    "/ready",
    response_model=schemas.status.Ready,
    responses=shown(examples.READY),
    dependencies=[Security(authorized, scopes=["status:read"])],
)
def ready(services: Services) -> Response:
    """Tell whether all is well, and what needs attention first.

    The same as `dbcalm status`: services, database, newest backups, the chain that a restore would use, overdue
    schedules, free space. `ok` is true where `attention` is empty."""
    return Ready(views.report(services.status.report(lambda: True)))


@router.get(
    "/protection",
    response_model=schemas.status.Protection,
    responses=shown(examples.PROTECTION),
    dependencies=[Security(authorized, scopes=["status:read"])],
)
def protection(services: Services) -> Response:
    """Tell how much would be lost, and how long a restore would take.

    For the chain that a restore would use now. A backup counts that can be restored as far as is known: neither it nor
    what it builds on is missing or suspect. `recovery_seconds` is what the last test restore took, scaled by size."""
    return Ready(views.protection(services.status.protection()))
