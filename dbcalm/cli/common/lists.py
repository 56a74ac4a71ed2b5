"""What the commands that list have in common: their options, and a page as people or programs read it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, TypeVar

import typer

from dbcalm.cli.common.output import Row, say, show, show_one
from dbcalm.domain.model import views
from dbcalm.domain.model.listing import Listing, Page, Query, parse
from dbcalm.domain.services.assembly import Services
from dbcalm.errors import DBCalmError

T = TypeVar("T")

Conditions = Annotated[str, typer.Option("--query", help="Conditions joined by commas, as in the API.")]
Orders = Annotated[str, typer.Option("--order", help="Fields to sort by, such as start_time|desc.")]
PageNumber = Annotated[int, typer.Option("--page", min=1, max=1_000_000_000, help="Counts from 1.")]
PerPage = Annotated[int, typer.Option("--per-page", min=1, max=1000, help="How many on a page.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, as the API gives it.")]


@contextmanager
def caught_up(services: Services) -> Iterator[None]:
    """Bring the catalogue up to the journal for the block; where that cannot be, the block shows what is known, and
    then this says so."""
    problem = None
    try:
        services.jobs.catch_up()
    except DBCalmError as error:
        problem = error
    yield
    if problem is not None:
        say(f"dbcalm: {problem}; what is shown may be out of date")


def show_page(
    services: Services,
    listing: Listing,
    find: Callable[[Query], Page[T]],
    view: Callable[[T], Row],
    columns: Sequence[str],
    asked: tuple[str, str, int, int],
    *,
    as_json: bool,
    readable: Callable[[Row], Row] = lambda row: row,
) -> None:
    """Print a page of a list: the one that is ``asked`` for by query, order, page and per_page.

    ``view`` gives an item's values, and ``readable`` turns those into what stands in the columns. Raise InvalidQuery.
    """
    query = parse(listing, *asked)
    with caught_up(services):
        found = find(query)
        if as_json:
            show_one(views.page(found, view), as_json=True)
            return
        show([readable(view(item)) for item in found.items], columns, as_json=False)
        if found.total > len(found.items):
            say(f"page {found.page} of {found.total_pages}, {found.total} in all")
