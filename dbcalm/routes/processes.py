"""What jobs were run, and how they stand."""

from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.endpoint import Incoming, Operation, Routes, answer
from dbcalm.domain import views
from dbcalm.domain.listing import parse
from dbcalm.domain.processes import LISTING
from dbcalm.errors import Conflict, InvalidQuery, InvalidRequest, NotFound, ServiceFailed, Unavailable
from dbcalm.routes.parameters import Conditions, Orders, PageNumber, PerPage

routes = Routes("processes", "What jobs were run, and how they stand.")

READ, WRITE = "processes:read", "processes:write"

LIST = Operation(
    schemas.Processes,
    examples.listed(examples.PROCESS),
    refusals=(InvalidQuery, InvalidRequest),
    parameter_examples=examples.PROCESS_LISTS,
)
STATUS = Operation(schemas.ProcessStatus, examples.STATUS, refusals=(NotFound,))
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


@routes("DELETE", "/processes/{id}", scope=WRITE, operation=CANCEL)
def cancel_process(call: Incoming, id: str) -> Response:
    """Cancel a job.

    `id` is the job's, as in `/status`, or the number of its process. Answers at once; the job ends within seconds, with
    the status `failed` and the reason `cancelled`, and what it had made is removed. One that is done before that ends
    with `success`. A restore that has begun to put its data in place can only be finished: 409."""
    return answer(views.status(call.services.processes.cancel(call.caller, id), None), 202)
