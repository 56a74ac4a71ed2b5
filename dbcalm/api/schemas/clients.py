"""Clients."""

from typing import Annotated

from pydantic import Field

from dbcalm.api.schemas.common import Answer, Body, Label, Pagination, Text
from dbcalm.domain.model.scopes import SCOPES, WILDCARDS

Scope = Annotated[Text, Field(json_schema_extra={"enum": [*WILDCARDS, *SCOPES]})]


class ClientRequest(Body):
    label: Label
    scopes: Annotated[
        list[Scope] | None, Field(description="What the client may do. Without it all that its creator may.")
    ] = None


class ClientChange(Body):
    label: Label


class Client(Answer):
    id: str
    label: str
    scopes: list[str]


class NewClient(Client):
    secret: Annotated[str, Field(description="Shown this once, and kept nowhere.")]


class Clients(Answer):
    items: list[Client]
    pagination: Pagination
