"""Deleting what has expired, and seeing beforehand what that will be."""

from typing import Annotated

from fastapi import APIRouter, Body, Security
from fastapi import Query as QueryParameter
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.deps import Services
from dbcalm.api.responses import PROTECTED, Ready, shown
from dbcalm.api.security import InTurn, authorized
from dbcalm.domain.model import views
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.services.processes import CLEANUP
from dbcalm.errors import Busy, InvalidRequest, NotFound, ServiceFailed, Unavailable

router = APIRouter(tags=["cleanup"], route_class=InTurn, responses=PROTECTED)

Days = Annotated[int, QueryParameter(ge=0, le=3660, description="How far to look ahead")]
Points = Annotated[
    int | None,
    QueryParameter(
        ge=0, description="How many restorable points there shall be; by default what the rules ask for"
    ),
]


@router.post(
    "/cleanup",
    status_code=202,
    response_model=schemas.cleanup.CleanupStarted,
    responses=shown(
        examples.CLEANUP_STARTED, NotFound, Busy, InvalidRequest, ServiceFailed, Unavailable, status=202
    ),
)
def create_cleanup(
    services: Services,
    caller: Annotated[Caller, Security(authorized, scopes=["backups:write"])],
    body: Annotated[
        schemas.cleanup.CleanupRequest | None, Body(openapi_examples=examples.CLEANUP_REQUESTS)
    ] = None,
) -> Response:
    """Delete the chains that have expired.

    With a schedule only those that have a backup of it. `deleting` names the backups; they go into the trash, from
    where they can be brought back for a while. `note` says why something that has expired stays."""
    job = services.cleanup.start(caller, None if body is None else body.schedule_id)
    return Ready(views.started(job, CLEANUP), 202)


@router.get(
    "/cleanup/preview",
    response_model=schemas.cleanup.CleanupPreview,
    responses=shown(examples.CLEANUP_PREVIEW, InvalidRequest, ServiceFailed, Unavailable),
    dependencies=[Security(authorized, scopes=["backups:read"])],
)
def preview_cleanup(services: Services, days: Days = 90, points: Points = None) -> Response:
    """Show what clean-up will delete in the next days, and why it keeps the rest.

    As if nothing new were made meanwhile. `first_short_day` is the first day with fewer restorable points than asked,
    by `points` or by the rules."""
    cleanup = services.cleanup
    return Ready({**views.preview(cleanup.preview(days, points)), "blocked": cleanup.blocked()})
