"""What jobs were run, and how they stand."""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Security
from starlette.requests import Request
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.deps import App, Services, listed
from dbcalm.api.events import Event, EventStream, Look
from dbcalm.api.responses import PROTECTED, Ready, shown
from dbcalm.api.security import InTurn, admit, authorized
from dbcalm.domain.model import views
from dbcalm.domain.model.entities import Caller, Process
from dbcalm.domain.model.listing import Query
from dbcalm.domain.services.jobs.job_feed import News
from dbcalm.domain.services.processes import LISTING
from dbcalm.errors import Conflict, InvalidQuery, InvalidRequest, NotFound, ServiceFailed, Unavailable

router = APIRouter(tags=["processes"], route_class=InTurn, responses=PROTECTED)

READ, WRITE = "processes:read", "processes:write"
MOST_BYTES = 2**62


@router.get(
    "/processes",
    response_model=schemas.jobs.Processes,
    responses=shown(examples.listed(examples.PROCESS), InvalidQuery, InvalidRequest),
    dependencies=[Security(authorized, scopes=[READ])],
)
def list_processes(
    services: Services, asked: Annotated[Query, Depends(listed(LISTING, examples.PROCESS_LISTS))]
) -> Response:
    """List processes.

    The newest come first. `query` takes id, command, command_id, pid, status, return_code, start_time, end_time and
    type; `order` takes id, start_time, end_time and status."""
    return Ready(views.page(services.processes.list(asked), views.process))


@router.get(
    "/processes/{id}",
    response_model=schemas.jobs.Process,
    responses=shown(examples.PROCESS, NotFound),
    dependencies=[Security(authorized, scopes=[READ])],
)
def get_process(services: Services, id: str) -> Response:
    """Show a process.

    `id` is its number, or its job's id as in `/status`."""
    return Ready(views.process(services.processes.require(id)))


@router.get(
    "/status/{pid}",
    response_model=schemas.jobs.ProcessStatus,
    responses=shown(examples.STATUS, NotFound),
    dependencies=[Security(authorized, scopes=[READ])],
)
def get_status(services: Services, pid: str) -> Response:
    """Tell how a job stands.

    `status` is running, success or failed. While it is running, `progress` tells how far it is, where that is known.
    After a failure `error` says what happened, and `reason` is `interrupted` where the job was killed, `cancelled`
    where somebody asked for that."""
    return Ready(views.status(*services.processes.status(pid)))


@router.get(
    "/processes/{id}/events",
    status_code=200,
    response_model=None,
    responses=shown(examples.EVENTS, NotFound, InvalidRequest, Unavailable, kind=EventStream.media_type),
    dependencies=[Security(authorized, scopes=[READ])],
    response_class=EventStream,
)
def follow_process(
    request: Request,
    application: App,
    id: str,
    last_event_id: Annotated[
        int,
        Header(
            alias="Last-Event-ID",
            ge=0,
            le=MOST_BYTES,
            description="The `id` of the last event that was received.",
        ),
    ] = 0,
) -> Response:
    """Follow a job.

    Server-sent events, until the job has ended: `progress` as `GET /status` has it, when it has changed; `log` with the
    next piece of what the backup tool says, in `text`; and at last `end` with the job's status. The `id` of a `log` is
    its end in the log, in bytes: who sends it back as `Last-Event-ID` gets what follows. The last `progress` of a job
    that has succeeded has 100 percent. A stream ends without `end` when the token has expired or the API is stopped:
    ask again."""
    following = application.services.processes.follow(id, last_event_id)

    def look() -> Look:
        news, more = following.look()
        return Look([_event(one) for one in news], more, following.ended)

    return application.streams.open(look, lambda: admit(request, [READ]))


def _event(news: News) -> Event:
    data: object = news.told
    if news.kind == "log":
        data = {"text": news.told}
    elif isinstance(news.told, Process):
        data = views.status(news.told, None)
    return Event(news.kind, data, news.offset)


@router.post(
    "/processes/{id}/acknowledge",
    response_model=schemas.jobs.Process,
    responses=shown(examples.PROCESS, NotFound, Conflict, ServiceFailed, Unavailable),
)
def acknowledge_process(
    services: Services, caller: Annotated[Caller, Security(authorized, scopes=[WRITE])], id: str
) -> Response:
    """Say that a job's failure is known.

    `id` is the job's, as in `/status`, or the number of its process. What needs attention does not tell of it any more;
    a later failure is told again. The process has the time in `known_at`."""
    return Ready(views.process(services.processes.acknowledge(caller, id)))


@router.delete(
    "/processes/{id}",
    status_code=202,
    response_model=schemas.jobs.ProcessStatus,
    responses=shown(examples.STATUS, NotFound, Conflict, ServiceFailed, Unavailable, status=202),
)
def cancel_process(
    services: Services, caller: Annotated[Caller, Security(authorized, scopes=[WRITE])], id: str
) -> Response:
    """Cancel a job.

    `id` is the job's, as in `/status`, or the number of its process. Answers at once; the job ends within seconds, with
    the status `failed` and the reason `cancelled`, and what it had made is removed. One that is done before that ends
    with `success`. A restore that has begun to put its data in place can only be finished: 409."""
    return Ready(views.status(services.processes.cancel(caller, id), None), 202)
