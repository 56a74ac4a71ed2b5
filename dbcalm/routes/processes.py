"""What jobs were run, and how they stand."""

from typing import Annotated

from fastapi import Header
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.endpoint import Incoming, Operation, Routes, answer, bearer
from dbcalm.api.events import Event, EventStream, Look
from dbcalm.domain import views
from dbcalm.domain.entities import Process
from dbcalm.domain.following import News
from dbcalm.domain.listing import parse
from dbcalm.domain.processes import LISTING
from dbcalm.errors import Conflict, InvalidQuery, InvalidRequest, NotFound, ServiceFailed, Unavailable
from dbcalm.routes.parameters import Conditions, Orders, PageNumber, PerPage

routes = Routes("processes", "What jobs were run, and how they stand.")

READ, WRITE = "processes:read", "processes:write"
MOST_BYTES = 2**62

LIST = Operation(
    schemas.Processes,
    examples.listed(examples.PROCESS),
    refusals=(InvalidQuery, InvalidRequest),
    parameter_examples=examples.PROCESS_LISTS,
)
STATUS = Operation(schemas.ProcessStatus, examples.STATUS, refusals=(NotFound,))
EVENTS = Operation(
    None,
    examples.EVENTS,
    refusals=(NotFound, InvalidRequest, Unavailable),
    response=EventStream,
)
ACKNOWLEDGE = Operation(
    schemas.Process, examples.PROCESS, refusals=(NotFound, Conflict, ServiceFailed, Unavailable)
)
CANCEL = Operation(
    schemas.ProcessStatus,
    examples.STATUS,
    status=202,
    refusals=(NotFound, Conflict, ServiceFailed, Unavailable),
)


@routes("GET", "/processes", scope=READ, operation=LIST)
def list_processes(
    call: Incoming, query: Conditions = "", order: Orders = "", page: PageNumber = 1, per_page: PerPage = 25
) -> Response:
    """List processes.

    The newest come first. `query` takes id, command, command_id, pid, status, return_code, start_time, end_time and
    type; `order` takes id, start_time, end_time and status."""
    asked = parse(LISTING, query, order, page, per_page)
    return answer(views.page(call.services.processes.list(asked), views.process))


@routes("GET", "/status/{pid}", scope=READ, operation=STATUS)
def get_status(call: Incoming, pid: str) -> Response:
    """Tell how a job stands.

    `status` is running, success or failed. While it is running, `progress` tells how far it is, where that is known.
    After a failure `error` says what happened, and `reason` is `interrupted` where the job was killed, `cancelled`
    where somebody asked for that."""
    return answer(views.status(*call.services.processes.status(pid)))


@routes("GET", "/processes/{id}/events", scope=READ, operation=EVENTS)
def follow_process(
    call: Incoming,
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
    following = call.services.processes.follow(id, last_event_id)

    def look() -> Look:
        news, more = following.look()
        return Look([_event(one) for one in news], more, following.ended)

    def admit() -> None:
        bearer(call.request)
        call.admit(READ)

    return call.application.streams.open(look, admit)


def _event(news: News) -> Event:
    data: object = news.told
    if news.kind == "log":
        data = {"text": news.told}
    elif isinstance(news.told, Process):
        data = views.status(news.told, None)
    return Event(news.kind, data, news.offset)


@routes("POST", "/processes/{id}/acknowledge", scope=WRITE, operation=ACKNOWLEDGE)
def acknowledge_process(call: Incoming, id: str) -> Response:
    """Say that a job's failure is known.

    `id` is the job's, as in `/status`, or the number of its process. What needs attention does not tell of it any more;
    a later failure is told again. The process has the time in `known_at`."""
    return answer(views.process(call.services.processes.acknowledge(call.caller, id)))


@routes("DELETE", "/processes/{id}", scope=WRITE, operation=CANCEL)
def cancel_process(call: Incoming, id: str) -> Response:
    """Cancel a job.

    `id` is the job's, as in `/status`, or the number of its process. Answers at once; the job ends within seconds, with
    the status `failed` and the reason `cancelled`, and what it had made is removed. One that is done before that ends
    with `success`. A restore that has begun to put its data in place can only be finished: 409."""
    return answer(views.status(call.services.processes.cancel(call.caller, id), None), 202)
