"""What restores have replaced."""

from typing import Annotated

from fastapi import APIRouter, Security
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.deps import Services
from dbcalm.api.responses import PROTECTED, Ready, shown
from dbcalm.api.security import InTurn, authorized
from dbcalm.domain.model import views
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.model.scopes import REPLACE
from dbcalm.errors import Busy, Conflict, NotFound, ServiceFailed, Unavailable

router = APIRouter(tags=["replaced"], route_class=InTurn, responses=PROTECTED)


@router.get(
    "/replaced",
    response_model=schemas.restores.ReplacedList,
    responses=shown({"items": [examples.REPLACED]}, ServiceFailed, Unavailable),
    dependencies=[Security(authorized, scopes=["restores:read"])],
)
def list_replaced(services: Services) -> Response:
    """List what restores have replaced.

    The newest comes first. Each is kept in the data directory until its `keep_until`."""
    return Ready({"items": list(services.restores.replaced())})


@router.post(
    "/replaced/{id}/bring-back",
    status_code=202,
    response_model=schemas.restores.BackStarted,
    responses=shown(examples.BACK_STARTED, NotFound, Conflict, Busy, ServiceFailed, Unavailable, status=202),
)
def bring_back(
    services: Services, caller: Annotated[Caller, Security(authorized, scopes=[REPLACE])], id: str
) -> Response:
    """Bring back what a restore replaced.

    The database is stopped, its data exchanged, and it is started again. What is there now is kept in its turn, so
    this too can be taken back. `link` tells how it stands."""
    return Ready(views.started(services.restores.bring_back(caller, id), "bring_back"), 202)
