"""Bringing backups back."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Security
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.deps import Services, listed
from dbcalm.api.responses import PROTECTED, Ready, shown
from dbcalm.api.security import InTurn, authorized
from dbcalm.domain.model import views
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.model.listing import Query
from dbcalm.domain.services.restores import LISTING
from dbcalm.errors import (
    Busy,
    Conflict,
    InvalidQuery,
    InvalidRequest,
    NoSpace,
    NotFound,
    ServiceFailed,
    Unavailable,
)

router = APIRouter(tags=["restores"], route_class=InTurn, responses=PROTECTED)

Writer = Annotated[Caller, Security(authorized, scopes=["restores:write"])]
Wanted = Annotated[schemas.restores.RestoreRequest, Body(openapi_examples=examples.RESTORE_REQUESTS)]
ACCEPTED = shown(
    examples.RESTORE_STARTED,
    NotFound,
    Conflict,
    Busy,
    InvalidRequest,
    ServiceFailed,
    Unavailable,
    NoSpace,
    status=202,
)


@router.post(
    "/restore",
    status_code=202,
    response_model=schemas.restores.RestoreStarted,
    responses=ACCEPTED,
)
def create_restore(services: Services, caller: Writer, body: Wanted) -> Response:
    """Restore a backup with all that it builds on.

    To the `database`, when the server is stopped and its data directory empty, or to a new `folder`. With `replace`,
    which needs the scope `database:replace` too, to a database as it is: the data is made ready beside that of the
    running server, which is then stopped and started with it. What was there is kept for `keep_replaced` and can be
    brought back; on any failure it is put back at once. The backups are not changed by a restore. Answers as soon as
    the restore has begun; `link` tells how it stands."""
    identity = None if body.identity is None else body.identity.get_secret_value()
    job = services.restores.create(caller, body.id, body.target, replace=body.replace, identity=identity)
    return Ready(views.started(job, "restore"), 202)


@router.post(
    "/restores",
    status_code=202,
    response_model=schemas.restores.RestoreStarted,
    responses=ACCEPTED,
)
def add_restore(services: Services, caller: Writer, body: Wanted) -> Response:
    """Restore a backup: another address of `POST /restore`.

    It takes and answers the same."""
    return create_restore(services, caller, body)


@router.get(
    "/restores/{id}",
    response_model=schemas.restores.Restore,
    responses=shown(examples.RESTORE, NotFound),
    dependencies=[Security(authorized, scopes=["restores:read"])],
)
def get_restore(services: Services, id: str) -> Response:
    """Show a restore.

    How it went in detail says its process."""
    return Ready(views.restore(services.restores.require(id)))


@router.get(
    "/restores",
    response_model=schemas.restores.Restores,
    responses=shown(examples.listed(examples.RESTORE), InvalidQuery, InvalidRequest),
    dependencies=[Security(authorized, scopes=["restores:read"])],
)
def list_restores(
    services: Services, asked: Annotated[Query, Depends(listed(LISTING, examples.RESTORE_LISTS))]
) -> Response:
    """List restores.

    The newest come first. `query` takes id, start_time, end_time, target, target_path, backup_id, backup_timestamp and
    process_id; `order` takes id, start_time, end_time and backup_id."""
    return Ready(views.page(services.restores.list(asked), views.restore))
