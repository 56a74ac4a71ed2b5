"""When backups are made without anybody asking."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Path, Security
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.deps import Services, listed
from dbcalm.api.responses import PROTECTED, Ready, shown
from dbcalm.api.security import InTurn, authorized
from dbcalm.domain.model import views
from dbcalm.domain.model.entities import Caller, Plan
from dbcalm.domain.model.listing import Query
from dbcalm.domain.services.schedules import LISTING, schedule_id
from dbcalm.errors import Conflict, InvalidQuery, InvalidRequest, NotFound, RuleBroken, Unavailable

router = APIRouter(tags=["schedules"], route_class=InTurn, responses=PROTECTED)

READ, WRITE = "schedules:read", "schedules:write"

Id = Annotated[str, Path(json_schema_extra={"type": "integer", "minimum": 1})]
"""Read here and not by the framework: what is no number is no schedule, and so 404."""


@router.get(
    "/schedules",
    response_model=schemas.schedules.Schedules,
    responses=shown(examples.listed(examples.SCHEDULE), InvalidQuery, InvalidRequest),
    dependencies=[Security(authorized, scopes=[READ])],
)
def list_schedules(
    services: Services, asked: Annotated[Query, Depends(listed(LISTING, examples.SCHEDULE_LISTS))]
) -> Response:
    """List schedules.

    The newest come first. `query` takes all fields of a request but retention, and id, created_at and updated_at;
    `order` takes id, created_at, updated_at and enabled."""
    return Ready(views.page(services.schedules.list(asked), views.schedule))


@router.get(
    "/schedules/{id}",
    response_model=schemas.schedules.Schedule,
    responses=shown(examples.SCHEDULE, NotFound),
    dependencies=[Security(authorized, scopes=[READ])],
)
def get_schedule(services: Services, id: Id) -> Response:
    """Show a schedule.

    `next_run` is when it runs next. `overdue` tells that it should have run and did not, or failed; `last_error` says
    why, where that is known."""
    return Ready(views.schedule(services.schedules.show(schedule_id(id))))


@router.post(
    "/schedules",
    response_model=schemas.schedules.Schedule,
    responses=shown(examples.SCHEDULE, RuleBroken, Conflict, InvalidRequest, Unavailable),
)
def create_schedule(
    services: Services,
    caller: Annotated[Caller, Security(authorized, scopes=[WRITE])],
    body: Annotated[schemas.schedules.ScheduleRequest, Body(openapi_examples=examples.SCHEDULE_REQUESTS)],
) -> Response:
    """Add a schedule.

    Times are those of the host's clock, in its time zone. It is in force when it is answered; where cron's file cannot
    be written, nothing is saved. An incremental schedule needs at least one enabled full schedule."""
    return Ready(views.schedule(services.schedules.create(caller, Plan(**vars(body)))))


@router.put(
    "/schedules/{id}",
    response_model=schemas.schedules.Schedule,
    responses=shown(examples.SCHEDULE, RuleBroken, NotFound, Conflict, InvalidRequest, Unavailable),
)
def update_schedule(
    services: Services,
    caller: Annotated[Caller, Security(authorized, scopes=[WRITE])],
    id: Id,
    body: Annotated[schemas.schedules.ScheduleRequest, Body(openapi_examples=examples.SCHEDULE_REQUESTS)],
) -> Response:
    """Replace a schedule.

    All fields are replaced; one that is missing is empty then, and `enabled` true. What else the body has is ignored,
    so the whole item can be sent back."""
    changed = services.schedules.update(caller, schedule_id(id), Plan(**vars(body)))
    return Ready(views.schedule(changed))


@router.delete(
    "/schedules/{id}",
    response_model=schemas.schedules.Message,
    responses=shown(examples.SCHEDULE_DELETED, RuleBroken, NotFound, Unavailable),
)
def delete_schedule(
    services: Services, caller: Annotated[Caller, Security(authorized, scopes=[WRITE])], id: Id
) -> Response:
    """Delete a schedule.

    Its backups stay. The last enabled full schedule stays too, as long as incremental ones are enabled."""
    number = schedule_id(id)
    services.schedules.delete(caller, number)
    return Ready({"message": f"schedule {number} was deleted"})
