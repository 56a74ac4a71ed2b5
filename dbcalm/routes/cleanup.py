"""Deleting what has expired, and seeing beforehand what that will be."""

from typing import Annotated

from fastapi import Query as QueryParameter
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.endpoint import Incoming, Operation, Routes, answer
from dbcalm.domain import views
from dbcalm.domain.processes import CLEANUP
from dbcalm.errors import Busy, InvalidRequest, NotFound, ServiceFailed, Unavailable

routes = Routes("cleanup", "Deleting what has expired.")

Days = Annotated[int, QueryParameter(ge=0, le=3660, description="How far to look ahead")]
Points = Annotated[
    int | None,
    QueryParameter(
        ge=0, description="How many restorable points there shall be; by default what the rules ask for"
    ),
]

CREATE = Operation(
    schemas.CleanupStarted,
    examples.CLEANUP_STARTED,
    status=202,
    refusals=(NotFound, Busy, InvalidRequest, ServiceFailed, Unavailable),
    request_examples=examples.CLEANUP_REQUESTS,
)
PREVIEW = Operation(
    schemas.CleanupPreview,
    examples.CLEANUP_PREVIEW,
    refusals=(InvalidRequest, ServiceFailed, Unavailable),
)


@routes("POST", "/cleanup", scope="backups:write", operation=CREATE)
def create_cleanup(call: Incoming, body: schemas.CleanupRequest | None = None) -> Response:
    """Delete the chains that have expired.

    With a schedule only those that have a backup of it. `deleting` names the backups; they go into the trash, from
    where they can be brought back for a while. `note` says why something that has expired stays."""
    job = call.services.cleanup.start(call.caller, None if body is None else body.schedule_id)
    return answer(views.started(job, CLEANUP), 202)


@routes("GET", "/cleanup/preview", scope="backups:read", operation=PREVIEW)
def preview_cleanup(call: Incoming, days: Days = 90, points: Points = None) -> Response:
    """Show what clean-up will delete in the next days, and why it keeps the rest.

    As if nothing new were made meanwhile. `first_short_day` is the first day with fewer restorable points than asked,
    by `points` or by the rules."""
    cleanup = call.services.cleanup
    return answer({**views.preview(cleanup.preview(days, points)), "blocked": cleanup.blocked()})
