"""Programs that may use the API."""

from typing import Annotated

from fastapi import APIRouter, Body, Depends, Security
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.deps import Services, listed
from dbcalm.api.responses import PROTECTED, Ready, shown
from dbcalm.api.security import InTurn, authorized
from dbcalm.domain.model import views
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.model.listing import Query
from dbcalm.domain.services.access.clients import LISTING
from dbcalm.errors import InvalidQuery, InvalidRequest, NotFound

router = APIRouter(tags=["clients"], route_class=InTurn, responses=PROTECTED)

READ, WRITE = "clients:read", "clients:write"


@router.get(
    "/clients",
    response_model=schemas.clients.Clients,
    responses=shown(examples.listed(examples.CLIENT), InvalidQuery, InvalidRequest),
    dependencies=[Security(authorized, scopes=[READ])],
)
def list_clients(
    services: Services, asked: Annotated[Query, Depends(listed(LISTING, examples.CLIENT_LISTS))]
) -> Response:
    """List clients.

    The newest come first. `query` takes id, label and scopes (as one text, sorted and joined by blanks); `order` takes
    id and label."""
    return Ready(views.page(services.clients.list(asked), views.client))


@router.get(
    "/clients/{id}",
    response_model=schemas.clients.Client,
    responses=shown(examples.CLIENT, NotFound),
    dependencies=[Security(authorized, scopes=[READ])],
)
def get_client(services: Services, id: str) -> Response:
    """Show a client.

    Its secret is kept nowhere, and so never shown again."""
    return Ready(views.client(services.clients.require(id)))


@router.post(
    "/clients", response_model=schemas.clients.NewClient, responses=shown(examples.NEW_CLIENT, InvalidRequest)
)
def create_client(
    services: Services,
    caller: Annotated[Caller, Security(authorized, scopes=[WRITE])],
    body: Annotated[schemas.clients.ClientRequest, Body(openapi_examples=examples.CLIENT_REQUESTS)],
) -> Response:
    """Add a client.

    Its secret is in this answer and is never shown again. It gets the scopes of its creator, or those of them that are
    named; more than its creator has is refused."""
    client, secret = services.clients.add(caller, body.label, body.scopes)
    return Ready({**views.client(client), "secret": secret})


@router.put(
    "/clients/{id}",
    response_model=schemas.clients.Client,
    responses=shown(examples.CLIENT, NotFound, InvalidRequest),
)
def update_client(
    services: Services,
    caller: Annotated[Caller, Security(authorized, scopes=[WRITE])],
    id: str,
    body: Annotated[schemas.clients.ClientChange, Body(openapi_examples=examples.CLIENT_CHANGES)],
) -> Response:
    """Give a client another label.

    What else the body has is ignored, so the whole item can be sent back."""
    return Ready(views.client(services.clients.rename(caller, id, body.label)))


@router.delete(
    "/clients/{id}", status_code=204, response_model=None, responses=shown(None, NotFound, status=204)
)
def delete_client(
    services: Services, caller: Annotated[Caller, Security(authorized, scopes=[WRITE])], id: str
) -> Response:
    """Delete a client.

    Its tokens end at once."""
    services.clients.delete(caller, id)
    return Response(status_code=204)
