"""What a route can ask for: the services, and what part of a list is asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Query
from fastapi.openapi.models import Example
from starlette.requests import Request

from dbcalm.api import tokens
from dbcalm.api.events import Streams
from dbcalm.api.pool import Pool
from dbcalm.domain.model.listing import Listing, parse
from dbcalm.domain.model.listing import Query as Asked
from dbcalm.domain.services import assembly


@dataclass
class Application:
    """What every route can reach."""

    services: assembly.Services
    tokens: tokens.Tokens
    ordinary: Pool = field(default_factory=lambda: Pool(threads=16, waiting=200))
    passwords: Pool = field(default_factory=lambda: Pool(threads=2, waiting=20))
    streams: Streams = field(default_factory=Streams)


def application_of(request: Request) -> Application:
    """Return what the application that this request came to was made with."""
    application: Application = request.app.state.application
    return application


async def _application(request: Request) -> Application:
    return application_of(request)


async def _services(request: Request) -> assembly.Services:
    return application_of(request).services


async def _address(request: Request) -> str:
    return request.client.host if request.client else ""


App = Annotated[Application, Depends(_application)]
Services = Annotated[assembly.Services, Depends(_services)]
Address = Annotated[str, Depends(_address)]
"""Where the request comes from; "" where that is not known."""


def listed(listing: Listing, examples: dict[str, dict[str, Example]]) -> Callable[..., object]:
    """Return the dependency that reads what part of a list is asked for, in which order."""

    async def asked(
        query: Annotated[
            str, Query(description="Conditions joined by commas", openapi_examples=examples["query"])
        ] = "",
        order: Annotated[
            str, Query(description="Fields to sort by, joined by commas", openapi_examples=examples["order"])
        ] = "",
        page: Annotated[int, Query(ge=1, description="Counts from 1")] = 1,
        per_page: Annotated[int, Query(ge=1, le=1000, description="Items on a page")] = 25,
    ) -> Asked:
        return parse(listing, query, order, page, per_page)

    return asked
