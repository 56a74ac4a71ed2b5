"""Programs that may use the API."""

from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.endpoint import Incoming, Operation, Routes, answer
from dbcalm.domain import views
from dbcalm.domain.clients import LISTING
from dbcalm.domain.listing import parse
from dbcalm.errors import InvalidQuery, InvalidRequest, NotFound
from dbcalm.routes.parameters import Conditions, Orders, PageNumber, PerPage

routes = Routes("clients", "Programs that may use the API.")

READ, WRITE = "clients:read", "clients:write"

LIST = Operation(
    schemas.Clients,
    examples.listed(examples.CLIENT),
    refusals=(InvalidQuery, InvalidRequest),
    parameter_examples=examples.CLIENT_LISTS,
)
CREATE = Operation(
    schemas.NewClient,
    examples.NEW_CLIENT,
    refusals=(InvalidRequest,),
    request_examples=examples.CLIENT_REQUESTS,
)
UPDATE = Operation(
    schemas.Client,
    examples.CLIENT,
    refusals=(NotFound, InvalidRequest),
    request_examples=examples.CLIENT_CHANGES,
)
DELETE = Operation(None, status=204, refusals=(NotFound,))


@routes("GET", "/clients", scope=READ, operation=LIST)
def list_clients(
    call: Incoming, query: Conditions = "", order: Orders = "", page: PageNumber = 1, per_page: PerPage = 25
) -> Response:
    """List clients.

    The newest come first. `query` takes id, label and scopes (as one text, sorted and joined by blanks); `order` takes
    id and label."""
    asked = parse(LISTING, query, order, page, per_page)
    return answer(views.page(call.services.clients.list(asked), views.client))


@routes("POST", "/clients", scope=WRITE, operation=CREATE)
def create_client(call: Incoming, body: schemas.ClientRequest) -> Response:
    """Add a client.

    Its secret is in this answer and is never shown again. It gets the scopes of its creator, or those of them that are
    named; more than its creator has is refused."""
    client, secret = call.services.clients.add(call.caller, body.label, body.scopes)
    return answer({**views.client(client), "secret": secret})


@routes("PUT", "/clients/{id}", scope=WRITE, operation=UPDATE)
def update_client(call: Incoming, id: str, body: schemas.ClientChange) -> Response:
    """Give a client another label.

    What else the body has is ignored, so the whole item can be sent back."""
    return answer(views.client(call.services.clients.rename(call.caller, id, body.label)))


@routes("DELETE", "/clients/{id}", scope=WRITE, operation=DELETE)
def delete_client(call: Incoming, id: str) -> Response:
    """Delete a client.

    Its tokens end at once."""
    call.services.clients.delete(call.caller, id)
    return Response(status_code=204)
