"""Making, listing and deleting backups."""

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
from dbcalm.domain.services.backups import LISTING
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

router = APIRouter(tags=["backups"], route_class=InTurn, responses=PROTECTED)

READ, WRITE = "backups:read", "backups:write"


@router.post(
    "/backups",
    status_code=202,
    response_model=schemas.backups.BackupStarted,
    responses=shown(
        examples.BACKUP_STARTED,
        NotFound,
        Conflict,
        Busy,
        InvalidRequest,
        ServiceFailed,
        Unavailable,
        NoSpace,
        status=202,
    ),
)
def create_backup(
    services: Services,
    caller: Annotated[Caller, Security(authorized, scopes=[WRITE])],
    body: Annotated[schemas.backups.BackupRequest, Body(openapi_examples=examples.BACKUP_REQUESTS)],
) -> Response:
    """Make a backup.

    Answers as soon as the backup has begun; `link` tells how it stands. An incremental without `from_backup_id` builds
    on the newest backup. Where an incremental could not be trusted a full backup is made, and `note` says why.
    A synthetic full is made of the newest chain, not of the server: it has the server's data as of the newest backup,
    and its times."""
    job = services.backups.create(
        caller, body.type, body.id, body.from_backup_id, body.schedule_id, body.form, body.synthetic
    )
    return Ready(views.started(job, body.type), 202)


@router.get(
    "/backups",
    response_model=schemas.backups.Backups,
    responses=shown(examples.listed(examples.BACKUP), InvalidQuery, InvalidRequest),
    dependencies=[Security(authorized, scopes=[READ])],
)
def list_backups(
    services: Services, asked: Annotated[Query, Depends(listed(LISTING, examples.BACKUP_LISTS))]
) -> Response:
    """List backups.

    The newest come first. `query` takes id, from_backup_id, schedule_id, start_time, end_time, process_id, proof_level,
    proof_at and suspect; `order` takes id, start_time and end_time."""
    return Ready(views.page(services.backups.list(asked), views.backup))


@router.get(
    "/backups/{id}",
    response_model=schemas.backups.Backup,
    responses=shown(examples.BACKUP, NotFound),
    dependencies=[Security(authorized, scopes=[READ])],
)
def get_backup(services: Services, id: str) -> Response:
    """Show a backup.

    Only whole backups are known: one that failed is seen among the processes."""
    return Ready(views.backup(services.backups.require(id)))


@router.post(
    "/backups/{id}/verify",
    status_code=202,
    response_model=schemas.backups.VerifyStarted,
    responses=shown(
        examples.VERIFY_STARTED,
        NotFound,
        Conflict,
        Busy,
        InvalidRequest,
        ServiceFailed,
        Unavailable,
        NoSpace,
        status=202,
    ),
)
def verify_backup(
    services: Services,
    caller: Annotated[Caller, Security(authorized, scopes=[WRITE])],
    id: str,
    body: Annotated[
        schemas.backups.VerifyRequest | None, Body(openapi_examples=examples.VERIFY_REQUESTS)
    ] = None,
) -> Response:
    """Prove that a backup comes back.

    It is read, brought back aside, looked through and started, as far as `level` says, with all that it builds on;
    what that makes is removed. The backup's `proof` tells how far it came. One that does not come back is `suspect`:
    nothing is built on it any more, and it counts for no retention, until it is verified well. A failure of the host,
    such as a full disk, says nothing of the backup. Answers as soon as it has begun; `link` tells how it stands."""
    asked = body or schemas.backups.VerifyRequest()
    identity = None if asked.identity is None else asked.identity.get_secret_value()
    job = services.backups.verify(caller, id, asked.level, identity=identity)
    return Ready(views.started(job, "verify"), 202)


@router.delete(
    "/backups/{id}",
    status_code=204,
    response_model=None,
    responses=shown(None, NotFound, Conflict, Busy, ServiceFailed, Unavailable, status=204),
)
def delete_backup(
    services: Services, caller: Annotated[Caller, Security(authorized, scopes=[WRITE])], id: str
) -> Response:
    """Delete a backup.

    It goes into the trash, from where it can be brought back for a while. One that others build on is not deleted: the
    answer names them. Nor is one that is held, that is younger than `min_age`, or that is one of the last
    `min_full_chains` chains."""
    services.backups.delete(caller, id)
    return Response(status_code=204)


@router.put(
    "/backups/{id}/hold",
    response_model=schemas.backups.Backup,
    responses=shown(examples.HELD, NotFound, Conflict, InvalidRequest, ServiceFailed, Unavailable),
)
def hold_backup(
    services: Services,
    caller: Annotated[Caller, Security(authorized, scopes=[WRITE])],
    id: str,
    body: Annotated[schemas.backups.HoldRequest, Body(openapi_examples=examples.HOLD_REQUESTS)],
) -> Response:
    """Keep a backup from being deleted.

    It and its chain stay, whatever the rules say, until `until` or, without it, until it is released."""
    return Ready(views.backup(services.backups.hold(caller, id, body.reason, body.until)))


@router.delete(
    "/backups/{id}/hold",
    response_model=schemas.backups.Backup,
    responses=shown(examples.BACKUP, NotFound, ServiceFailed, Unavailable),
)
def release_backup(
    services: Services, caller: Annotated[Caller, Security(authorized, scopes=[WRITE])], id: str
) -> Response:
    """End the hold of a backup.

    It is kept as long as the rules keep it."""
    return Ready(views.backup(services.backups.release(caller, id)))


@router.post(
    "/backups/{id}/undelete",
    response_model=schemas.backups.Backup,
    responses=shown(examples.BACKUP, NotFound, Conflict, Busy, InvalidRequest, ServiceFailed, Unavailable),
)
def undelete_backup(
    services: Services,
    caller: Annotated[Caller, Security(authorized, scopes=[WRITE])],
    id: str,
    body: Annotated[
        schemas.backups.UndeleteRequest | None, Body(openapi_examples=examples.UNDELETE_REQUESTS)
    ] = None,
) -> Response:
    """Bring a deleted backup back.

    That is possible at least until its `purge_at`. What it builds on must be brought back first. Where several of the
    same id were deleted, `deleted_at` says which; without it the last one comes back."""
    deleted_at = None if body is None else body.deleted_at
    return Ready(views.backup(services.backups.undelete(caller, id, deleted_at)))


@router.get(
    "/trash",
    response_model=schemas.backups.Trash,
    responses=shown({"items": [examples.DELETED], "more": False}, ServiceFailed, Unavailable),
    dependencies=[Security(authorized, scopes=[READ])],
)
def list_trash(services: Services) -> Response:
    """List the deleted backups that can still be brought back.

    The last deleted come first."""
    found, more = services.backups.deleted()
    return Ready({"items": [views.deleted(facts) for facts in found], "more": more})
