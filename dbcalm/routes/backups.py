"""Making, listing and deleting backups."""

from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.endpoint import Incoming, Operation, Routes, answer
from dbcalm.domain import views
from dbcalm.domain.backups import LISTING
from dbcalm.domain.listing import parse
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
from dbcalm.routes.parameters import Conditions, Orders, PageNumber, PerPage

routes = Routes("backups", "Making, listing and deleting backups.")

READ, WRITE = "backups:read", "backups:write"

CREATE = Operation(
    schemas.BackupStarted,
    examples.BACKUP_STARTED,
    status=202,
    refusals=(NotFound, Conflict, Busy, InvalidRequest, ServiceFailed, Unavailable, NoSpace),
    request_examples=examples.BACKUP_REQUESTS,
)
LIST = Operation(
    schemas.Backups,
    examples.listed(examples.BACKUP),
    refusals=(InvalidQuery, InvalidRequest),
    parameter_examples=examples.BACKUP_LISTS,
)
GET = Operation(schemas.Backup, examples.BACKUP, refusals=(NotFound,))
TRASH = Operation(
    schemas.Trash, {"items": [examples.DELETED], "more": False}, refusals=(ServiceFailed, Unavailable)
)
UNDELETE = Operation(
    schemas.Backup,
    examples.BACKUP,
    refusals=(NotFound, Conflict, Busy, InvalidRequest, ServiceFailed, Unavailable),
    request_examples=examples.UNDELETE_REQUESTS,
)
VERIFY = Operation(
    schemas.VerifyStarted,
    examples.VERIFY_STARTED,
    status=202,
    refusals=(NotFound, Conflict, Busy, InvalidRequest, ServiceFailed, Unavailable, NoSpace),
    request_examples=examples.VERIFY_REQUESTS,
)
HOLD = Operation(
    schemas.Backup,
    examples.HELD,
    refusals=(NotFound, Conflict, InvalidRequest, ServiceFailed, Unavailable),
    request_examples=examples.HOLD_REQUESTS,
)
RELEASE = Operation(schemas.Backup, examples.BACKUP, refusals=(NotFound, ServiceFailed, Unavailable))
DELETE = Operation(None, status=204, refusals=(NotFound, Conflict, Busy, ServiceFailed, Unavailable))


@routes("POST", "/backups", scope=WRITE, operation=CREATE)
def create_backup(call: Incoming, body: schemas.BackupRequest) -> Response:
    """Make a backup.

    Answers as soon as the backup has begun; `link` tells how it stands. An incremental without `from_backup_id` builds
    on the newest backup. Where an incremental could not be trusted a full backup is made, and `note` says why.
    A synthetic full is made of the newest chain, not of the server: it has the server's data as of the newest backup,
    and its times."""
    job = call.services.backups.create(
        call.caller, body.type, body.id, body.from_backup_id, body.schedule_id, body.form, body.synthetic
    )
    return answer(views.started(job, body.type), 202)


@routes("GET", "/backups", scope=READ, operation=LIST)
def list_backups(
    call: Incoming, query: Conditions = "", order: Orders = "", page: PageNumber = 1, per_page: PerPage = 25
) -> Response:
    """List backups.

    The newest come first. `query` takes id, from_backup_id, schedule_id, start_time, end_time, process_id, proof_level,
    proof_at and suspect; `order` takes id, start_time and end_time."""
    asked = parse(LISTING, query, order, page, per_page)
    return answer(views.page(call.services.backups.list(asked), views.backup))


@routes("GET", "/backups/{id}", scope=READ, operation=GET)
def get_backup(call: Incoming, id: str) -> Response:
    """Show a backup.

    Only whole backups are known: one that failed is seen among the processes."""
    return answer(views.backup(call.services.backups.require(id)))


@routes("POST", "/backups/{id}/verify", scope=WRITE, operation=VERIFY)
def verify_backup(call: Incoming, id: str, body: schemas.VerifyRequest | None = None) -> Response:
    """Prove that a backup comes back.

    It is read, brought back aside, looked through and started, as far as `level` says, with all that it builds on;
    what that makes is removed. The backup's `proof` tells how far it came. One that does not come back is `suspect`:
    nothing is built on it any more, and it counts for no retention, until it is verified well. A failure of the host,
    such as a full disk, says nothing of the backup. Answers as soon as it has begun; `link` tells how it stands."""
    asked = body or schemas.VerifyRequest()
    identity = None if asked.identity is None else asked.identity.get_secret_value()
    job = call.services.backups.verify(call.caller, id, asked.level, identity=identity)
    return answer(views.started(job, "verify"), 202)


@routes("DELETE", "/backups/{id}", scope=WRITE, operation=DELETE)
def delete_backup(call: Incoming, id: str) -> Response:
    """Delete a backup.

    It goes into the trash, from where it can be brought back for a while. One that others build on is not deleted: the
    answer names them. Nor is one that is held, that is younger than `min_age`, or that is one of the last
    `min_full_chains` chains."""
    call.services.backups.delete(call.caller, id)
    return Response(status_code=204)


@routes("PUT", "/backups/{id}/hold", scope=WRITE, operation=HOLD)
def hold_backup(call: Incoming, id: str, body: schemas.HoldRequest) -> Response:
    """Keep a backup from being deleted.

    It and its chain stay, whatever the rules say, until `until` or, without it, until it is released."""
    return answer(views.backup(call.services.backups.hold(call.caller, id, body.reason, body.until)))


@routes("DELETE", "/backups/{id}/hold", scope=WRITE, operation=RELEASE)
def release_backup(call: Incoming, id: str) -> Response:
    """End the hold of a backup.

    It is kept as long as the rules keep it."""
    return answer(views.backup(call.services.backups.release(call.caller, id)))


@routes("POST", "/backups/{id}/undelete", scope=WRITE, operation=UNDELETE)
def undelete_backup(call: Incoming, id: str, body: schemas.UndeleteRequest | None = None) -> Response:
    """Bring a deleted backup back.

    That is possible at least until its `purge_at`. What it builds on must be brought back first. Where several of the
    same id were deleted, `deleted_at` says which; without it the last one comes back."""
    deleted_at = None if body is None else body.deleted_at
    return answer(views.backup(call.services.backups.undelete(call.caller, id, deleted_at)))


@routes("GET", "/trash", scope=READ, operation=TRASH)
def list_trash(call: Incoming) -> Response:
    """List the deleted backups that can still be brought back.

    The last deleted come first."""
    found, more = call.services.backups.deleted()
    return answer({"items": [views.deleted(facts) for facts in found], "more": more})
