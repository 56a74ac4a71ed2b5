"""When backups are made without anybody asking."""

from typing import Annotated

from fastapi import Path
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.endpoint import Incoming, Operation, Routes, answer
from dbcalm.domain import views
from dbcalm.domain.entities import Plan
from dbcalm.domain.listing import parse
from dbcalm.domain.schedules import LISTING, schedule_id
from dbcalm.errors import Conflict, InvalidQuery, InvalidRequest, NotFound, RuleBroken, Unavailable
from dbcalm.routes.parameters import Conditions, Orders, PageNumber, PerPage

routes = Routes("schedules", "When backups are made without anybody asking.")

READ, WRITE = "schedules:read", "schedules:write"

Id = Annotated[str, Path(json_schema_extra={"type": "integer", "minimum": 1})]
"""Read here and not by the framework: what is no number is no schedule, and so 404."""

LIST = Operation(
    schemas.Schedules,
    examples.listed(examples.SCHEDULE),
    refusals=(InvalidQuery, InvalidRequest),
    parameter_examples=examples.SCHEDULE_LISTS,
)
GET = Operation(schemas.Schedule, examples.SCHEDULE, refusals=(NotFound,))
CREATE = Operation(
    schemas.Schedule,
    examples.SCHEDULE,
    refusals=(RuleBroken, Conflict, InvalidRequest, Unavailable),
    request_examples=examples.SCHEDULE_REQUESTS,
)
UPDATE = Operation(
    schemas.Schedule,
    examples.SCHEDULE,
    refusals=(RuleBroken, NotFound, Conflict, InvalidRequest, Unavailable),
    request_examples=examples.SCHEDULE_REQUESTS,
)
DELETE = Operation(schemas.Message, examples.SCHEDULE_DELETED, refusals=(RuleBroken, NotFound, Unavailable))


@routes("GET", "/schedules", scope=READ, operation=LIST)
def list_schedules(
    call: Incoming, query: Conditions = "", order: Orders = "", page: PageNumber = 1, per_page: PerPage = 25
) -> Response:
    """List schedules.

    The newest come first. `query` takes all fields of a request but retention, and id, created_at and updated_at;
    `order` takes id, created_at, updated_at and enabled."""
    asked = parse(LISTING, query, order, page, per_page)
    return answer(views.page(call.services.schedules.list(asked), views.schedule))


@routes("GET", "/schedules/{id}", scope=READ, operation=GET)
def get_schedule(call: Incoming, id: Id) -> Response:
    """Show a schedule.

    `next_run` is when it runs next. `overdue` tells that it should have run and did not, or failed; `last_error` says
    why, where that is known."""
    return answer(views.schedule(call.services.schedules.show(schedule_id(id))))


@routes("POST", "/schedules", scope=WRITE, operation=CREATE)
def create_schedule(call: Incoming, body: schemas.ScheduleRequest) -> Response:
    """Add a schedule.

    Times are those of the host's clock, in its time zone. It is in force when it is answered; where cron's file cannot
    be written, nothing is saved. An incremental schedule needs at least one enabled full schedule."""
    return answer(views.schedule(call.services.schedules.create(call.caller, Plan(**vars(body)))))


@routes("PUT", "/schedules/{id}", scope=WRITE, operation=UPDATE)
def update_schedule(call: Incoming, id: Id, body: schemas.ScheduleRequest) -> Response:
    """Replace a schedule.

    All fields are replaced; one that is missing is empty then, and `enabled` true. What else the body has is ignored,
    so the whole item can be sent back."""
    changed = call.services.schedules.update(call.caller, schedule_id(id), Plan(**vars(body)))
    return answer(views.schedule(changed))


@routes("DELETE", "/schedules/{id}", scope=WRITE, operation=DELETE)
def delete_schedule(call: Incoming, id: Id) -> Response:
    """Delete a schedule.

    Its backups stay. The last enabled full schedule stays too, as long as incremental ones are enabled."""
    number = schedule_id(id)
    call.services.schedules.delete(call.caller, number)
    return answer({"message": f"schedule {number} was deleted"})
