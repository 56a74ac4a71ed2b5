"""Bringing backups back."""

from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.endpoint import Incoming, Operation, Routes, answer
from dbcalm.domain import views
from dbcalm.domain.listing import parse
from dbcalm.domain.restores import LISTING
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

routes = Routes("restores", "Bringing backups back.")

CREATE = Operation(
    schemas.RestoreStarted,
    examples.RESTORE_STARTED,
    status=202,
    refusals=(NotFound, Conflict, Busy, InvalidRequest, ServiceFailed, Unavailable, NoSpace),
    request_examples=examples.RESTORE_REQUESTS,
)
LIST = Operation(
    schemas.Restores,
    examples.listed(examples.RESTORE),
    refusals=(InvalidQuery, InvalidRequest),
    parameter_examples=examples.RESTORE_LISTS,
)


@routes("POST", "/restore", scope="restores:write", operation=CREATE)
def create_restore(call: Incoming, body: schemas.RestoreRequest) -> Response:
    """Restore a backup with all that it builds on.

    To the `database`, when the server is stopped and its data directory empty, or to a new `folder`. With `replace`,
    which needs the scope `database:replace` too, to a database as it is: the data is made ready beside that of the
    running server, which is then stopped and started with it. What was there is kept for `keep_replaced` and can be
    brought back; on any failure it is put back at once. The backups are not changed by a restore. Answers as soon as
    the restore has begun; `link` tells how it stands."""
    identity = None if body.identity is None else body.identity.get_secret_value()
    job = call.services.restores.create(
        call.caller, body.id, body.target, replace=body.replace, identity=identity
    )
    return answer(views.started(job, "restore"), 202)


@routes("GET", "/restores", scope="restores:read", operation=LIST)
def list_restores(
    call: Incoming, query: Conditions = "", order: Orders = "", page: PageNumber = 1, per_page: PerPage = 25
) -> Response:
    """List restores.

    The newest come first. `query` takes id, start_time, end_time, target, target_path, backup_id, backup_timestamp and
    process_id; `order` takes id, start_time, end_time and backup_id."""
    asked = parse(LISTING, query, order, page, per_page)
    return answer(views.page(call.services.restores.list(asked), views.restore))
