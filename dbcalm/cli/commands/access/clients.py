"""``dbcalm clients``: programs that may use the API."""

import json
import shlex
from collections.abc import Iterator
from typing import Annotated

import typer

from dbcalm.cli.common import start
from dbcalm.cli.common.output import Row, say, show
from dbcalm.cli.common.start import caller
from dbcalm.domain.model.entities import Client
from dbcalm.domain.model.listing import Condition, Query
from dbcalm.domain.services.access.clients import Clients

app = typer.Typer(no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The client's id.")]
Label = Annotated[str, typer.Argument(help="What the client is called.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

_PAGE = 1000


@app.command()
def add(
    label: Label,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="What it may do, such as backups:read; once for each.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a client and show its secret, this once. Without a scope it may do everything."""
    clients = start.clients()
    client, secret = clients.add(caller(), label, scope)
    if as_json:
        print(json.dumps({**_row(client), "secret": secret}))
    else:
        print(f"client_id:     {client.id}\nclient_secret: {secret}")
        say("the secret is not shown again")
        if scope is None:
            less = f"dbcalm clients add {shlex.quote(client.label)} --scope backups:read"
            say(f"it may do everything; one that may only look at backups is made with: {less}")
        _say_if_doubled(clients, client)


@app.command("list")
def list_clients(as_json: Json = False) -> None:
    """List clients."""
    rows = [_row(client) for client in _all(start.clients())]
    if not as_json:
        rows = [{**row, "scopes": " ".join(map(str, row["scopes"]))} for row in rows]  # type: ignore[call-overload]  # a list
    show(rows, ("id", "label", "scopes"), as_json=as_json)


@app.command()
def update(id: Id, label: Label) -> None:
    """Give a client another label."""
    clients = start.clients()
    client = clients.rename(caller(), id, label)
    say(f"client {client.id} is now called {client.label}")
    _say_if_doubled(clients, client)


@app.command()
def delete(id: Id, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Delete a client. Its tokens end at once."""
    clients = start.clients()
    client = clients.require(id)
    if not yes:
        typer.confirm(f"Delete client {client.id} ({client.label})?", abort=True, err=True)
    clients.delete(caller(), id)
    say(f"client {client.id} was deleted")


def _say_if_doubled(clients: Clients, client: Client) -> None:
    """Say that others are called the same: who ends the wrong one's tokens finds out late."""
    same = clients.list(Query((Condition("label", "eq", (client.label,)),))).items
    if others := [one.id for one in same if one.id != client.id]:
        say(
            f"{len(others)} more are called {client.label}, such as {others[0]}: tell them apart by their ids"
        )


def _all(clients: Clients) -> Iterator[Client]:
    page = 1
    while (found := clients.list(Query(page=page, per_page=_PAGE))).items:
        yield from found.items
        page += 1


def _row(client: Client) -> Row:
    return {"id": client.id, "label": client.label, "scopes": list(client.scopes)}
