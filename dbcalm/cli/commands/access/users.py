"""``dbcalm users``: people who may use the API."""

import shlex
import sys
from typing import Annotated

import typer

from dbcalm.cli.common import start
from dbcalm.cli.common.output import say, show
from dbcalm.cli.common.start import caller
from dbcalm.domain.rules import passwords
from dbcalm.errors import InvalidField

app = typer.Typer(no_args_is_help=True)

Username = Annotated[str | None, typer.Argument(help="The user's name; asked for where it is missing.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input.")
]


@app.command()
def add(username: Username = None, password_stdin: PasswordStdin = False) -> None:
    """Add a user."""
    passwords.load()
    users = start.users()
    name = users.require_free(_asked(username, password_stdin))
    users.add(caller().name, name, password := ask_password(password_stdin))
    say(f"user {name} was added")
    _say_if_weak(name, password)


@app.command("list")
def list_users(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List users."""
    found = start.users().list()
    rows: list[dict[str, object]] = [
        {"id": user.id, "username": user.username, "created_at": user.created_at} for user in found
    ]
    show(rows, ("username", "created_at"), as_json=as_json)


@app.command("update-password")
def update_password(username: Username = None, password_stdin: PasswordStdin = False) -> None:
    """Give a user a new password. Tokens of before end at once."""
    passwords.load()
    users = start.users()
    name = users.require(_asked(username, password_stdin)).username
    users.update_password(caller().name, name, password := ask_password(password_stdin))
    say(f"user {name} has a new password")
    _say_if_weak(name, password)


@app.command()
def delete(
    username: Annotated[str, typer.Argument(help="The user's name.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a user. Tokens end at once."""
    users = start.users()
    name = users.require(username).username
    if not yes:
        typer.confirm(f"Delete user {name}?", abort=True, err=True)
    users.delete(caller().name, name)
    say(f"user {name} was deleted")


def _say_if_weak(name: str, password: str) -> None:
    if why := passwords.weakness(password, name):
        say(
            f"the password is weak: {why}; for a better one: dbcalm users update-password {shlex.quote(name)}"
        )


def _asked(username: str | None, password_stdin: bool) -> str:
    """Return the name as it was given, or else as it is typed in."""
    if username is not None:
        return username
    if password_stdin:
        raise typer.BadParameter("with --password-stdin the name must be given", param_hint="USERNAME")
    return str(typer.prompt("User name", err=True))


def ask_password(from_stdin: bool) -> str:
    """Return the password from the first line of standard input, or else as it is typed in, hidden and twice."""
    if from_stdin:
        try:
            return sys.stdin.buffer.readline().decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InvalidField("password", "must be text in UTF-8") from error
    if not sys.stdin.isatty():
        raise InvalidField("password", "cannot be asked for without a terminal; use --password-stdin")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
