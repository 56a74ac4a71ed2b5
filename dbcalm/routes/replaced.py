"""What restores have replaced."""

from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.endpoint import Incoming, Operation, Routes, answer
from dbcalm.domain import views
from dbcalm.domain.scopes import REPLACE
from dbcalm.errors import Busy, Conflict, NotFound, ServiceFailed, Unavailable

routes = Routes("replaced", "What restores have replaced, which can be brought back for a while.")

LIST = Operation(schemas.ReplacedList, {"items": [examples.REPLACED]}, refusals=(ServiceFailed, Unavailable))
BRING_BACK = Operation(
    schemas.BackStarted,
    examples.BACK_STARTED,
    status=202,
    refusals=(NotFound, Conflict, Busy, ServiceFailed, Unavailable),
)


@routes("GET", "/replaced", scope="restores:read", operation=LIST)
def list_replaced(call: Incoming) -> Response:
    """List what restores have replaced.

    The newest comes first. Each is kept in the data directory until its `keep_until`."""
    return answer({"items": list(call.services.restores.replaced())})


@routes("POST", "/replaced/{id}/bring-back", scope=REPLACE, operation=BRING_BACK)
def bring_back(call: Incoming, id: str) -> Response:
    """Bring back what a restore replaced.

    The database is stopped, its data exchanged, and it is started again. What is there now is kept in its turn, so
    this too can be taken back. `link` tells how it stands."""
    return answer(views.started(call.services.restores.bring_back(call.caller, id), "bring_back"), 202)
