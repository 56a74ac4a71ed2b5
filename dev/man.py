"""The manual pages, made from what they describe: dbcalm(1) from the commands, dbcalm-config(5) from the keys, those of
the two services from what their code says of itself.

``python -m dev.man FOLDER`` writes them, for ``man -l`` and for packages. They are the same for the same code.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import typer
from typer.core import TyperGroup
from typer.main import get_command

from dbcalm import __version__
from dbcalm.cli import main as program
from dbcalm_cmd import service as root_service
from dbcalm_cmd.settings import FORMS, Settings
from dbcalm_mariadb_cmd import service as mysql_service
from dbcalm_mariadb_cmd.config.keys import DEFAULT_CONFIG, KEYS

_NAME = "dbcalm"
ORDERS = DEFAULT_CONFIG.parent / "cmd.toml"
_SUMMARY = "back up and restore MariaDB and MySQL"
_SPECIAL = {
    "\\": r"\(rs", "-": r"\-", "'": r"\(aq", '"': r"\(dq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti",
}  # fmt: skip
"""What roff would print as something else, or take for the end of an argument; without these a copied option does not
work where it is pasted."""

_ENVIRONMENT = {
    "DBCALM_CONFIG": f"The configuration to use instead of {DEFAULT_CONFIG}; empty is the same as unset.",
    "NO_COLOR": "Any value keeps colours out of the output.",
}


def escape(text: str) -> str:
    """Return a text as one line of roff that prints just it: no character of it is an instruction."""
    characters = (
        _SPECIAL.get(character) or (character if character.isascii() else rf"\[u{ord(character):04X}]")
        for character in " ".join(text.split())
    )
    line = "".join(characters)
    return rf"\&{line}" if line.startswith(".") else line


def bold(text: str) -> str:
    """Return a text in bold, as one line of roff."""
    return rf"\fB{escape(text)}\fR"


def section(title: str) -> str:
    """Return the heading of a section."""
    return f'.SH "{escape(title.upper())}"'


def paragraphs(text: str) -> Iterator[str]:
    """Yield the lines of a text whose paragraphs are parted by empty lines."""
    for paragraph in text.split("\n\n"):
        yield from (".PP", escape(paragraph))


def term(name: str, about: str) -> tuple[str, ...]:
    """Return the lines of a name, which is roff already, and of what is said about it."""
    return (".TP", name, escape(about) or r"\&")


def page(name: str, chapter: int, summary: str, *body: str) -> str:
    """Return a whole page. It has no date: the same code gives the same page."""
    title = f'.TH "{escape(name.upper())}" {chapter} "" "DBCalm {escape(__version__)}" "DBCalm"'
    lines = [title, ".nh", ".ad l", section("name"), rf"{escape(name)} \- {escape(summary)}", *body]
    return "\n".join(lines) + "\n"


def command_page() -> str:
    """Return dbcalm(1)."""
    group = get_command(program.program())
    top = typer.Context(group, info_name=_NAME, **group.context_settings)
    return page(
        _NAME,
        1,
        _SUMMARY,
        section("synopsis"),
        f"{bold(_NAME)} {escape(' '.join(group.collect_usage_pieces(top)))}",
        section("description"),
        *paragraphs(group.help or ""),
        section("options"),
        *_parameters(top),
        section("commands"),
        *_commands(top),
        section("exit status"),
        *(line for status, meaning in exit_statuses() for line in term(bold(status), meaning)),
        section("environment"),
        *(line for name, about in _ENVIRONMENT.items() for line in term(bold(name), about)),
        section("files"),
        *term(bold(str(DEFAULT_CONFIG)), "The configuration."),
        *(line for name in ("database_file", "job_dir", "backup_dir") for line in _file(name)),
        section("see also"),
        rf"{bold('dbcalm-config')}(5), {bold('mariadb-backup')}(1), {bold('crontab')}(5),",
        rf"{bold(f'{_NAME}-cmd')}(8), {bold(f'{_NAME}-mariadb-cmd')}(8)",
    )


def exit_statuses() -> list[tuple[str, str]]:
    """Return the exit statuses with their meanings, as the program's own description lists them."""
    listed = (program.__doc__ or "").partition("Exit status:")[2]
    return re.findall(r"(\d+) (.+?)(?=, \d+ |\.(?:\s|$))", " ".join(listed.split()))


def config_page() -> str:
    """Return dbcalm-config(5)."""
    return page(
        f"{_NAME}-config",
        5,
        "the configuration of DBCalm",
        section("description"),
        escape(
            f"{DEFAULT_CONFIG} is YAML and is read by dbcalm and dbcalm-mariadb-cmd; DBCALM_CONFIG names another file. "
            f"{ORDERS} is TOML and is read by dbcalm-cmd, the service that runs as root; it lies in the folder of the "
            "other one and may be missing. Programs read them at their start. An unknown key, a key that stands twice "
            "and a value that is not allowed keep a program from starting."
        ),
        section(f"keys of {DEFAULT_CONFIG.name}"),
        *(line for name, key in KEYS.items() for line in _key(name, key.default, key.allowed, key.about)),
        section(f"keys of {ORDERS.name}"),
        *(
            line
            for field in fields(Settings)
            for line in _key(field.name, field.default, FORMS[field.name][1], "")
        ),
        section("see also"),
        rf"{bold(_NAME)}(1); {bold(f'{_NAME} config check')} says all that is wrong with a configuration.",
    )


def service_page(name: str, summary: str, service: ModuleType, files: dict[str, str]) -> str:
    """Return the page of a service: what its module says of itself, and the files that it uses."""
    about = (service.__doc__ or "").partition("\n\n")[2].replace("``", "")
    return page(
        name,
        8,
        summary,
        section("synopsis"),
        bold(name),
        section("description"),
        *paragraphs(about),
        escape("systemd starts it, and hands it its socket. It has no options, and ends at SIGTERM."),
        section("exit status"),
        *term(bold("0"), "It was told to end."),
        *term(bold("1"), "It could not start; one line on standard error says why."),
        section("files"),
        *(line for path, what in files.items() for line in term(bold(path), what)),
        section("see also"),
        rf"{bold(_NAME)}(1), {bold(f'{_NAME}-config')}(5)",
    )


def pages() -> dict[str, str]:
    """Return all pages by the names of their files."""
    defaults = {name: str(key.default) for name, key in KEYS.items()}
    return {
        f"{_NAME}.1": command_page(),
        f"{_NAME}-config.5": config_page(),
        f"{_NAME}-cmd.8": service_page(
            f"{_NAME}-cmd",
            "the service of DBCalm that runs as root, for the cron file and the database's unit",
            root_service,
            {
                str(ORDERS): "The configuration; it may be missing.",
                Settings.socket: "The socket.",
                Settings.cron_file: "What it writes.",
            },
        ),
        f"{_NAME}-mariadb-cmd.8": service_page(
            f"{_NAME}-mariadb-cmd",
            "the service of DBCalm that runs as mysql, for backups and restores",
            mysql_service,
            {
                str(DEFAULT_CONFIG): "The configuration.",
                defaults["backup_credentials_file"]: KEYS["backup_credentials_file"].about,
                defaults["mariadb_cmd_socket"]: "The socket.",
                defaults["job_dir"]: KEYS["job_dir"].about,
                defaults["backup_dir"]: KEYS["backup_dir"].about,
            },
        ),
    }


def _key(name: str, default: object, allowed: str, about: str) -> Iterator[str]:
    shown = "empty" if default in ("", []) else str(default)
    said = [text for text in (about, f"Allowed: {allowed}", f"Default: {shown}") if text]
    yield from term(bold(name), said[0])
    for text in said[1:]:
        yield from (".br", escape(text))


def _file(key: str) -> tuple[str, ...]:
    return term(bold(str(KEYS[key].default)), f"{KEYS[key].about} The key {key} names another place.")


def _commands(parent: typer.Context) -> Iterator[str]:
    """Yield the lines of all commands below a group, those of a group's own groups in their place."""
    for name, command in getattr(parent.command, "commands", {}).items():
        if command.hidden:
            continue
        context = typer.Context(command, info_name=name, parent=parent)
        if isinstance(command, TyperGroup):
            yield from _commands(context)
            continue
        usage = " ".join(command.collect_usage_pieces(context))
        yield f'.SS "{escape(f"{context.command_path} {usage}")}"'
        yield from paragraphs(command.help or "")
        yield from _parameters(context)


def _parameters(context: typer.Context) -> Iterator[str]:
    """Yield the lines of a command's arguments and options; that for help stands once, at the top."""
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record and not (context.parent and "--help" in parameter.opts):
            yield from term(bold(record[0]), record[1])


def main() -> int:
    """Write the pages into the folder of the argument; return 0, or 2 if there is none."""
    if len(sys.argv) != 2:
        print("usage: python -m dev.man FOLDER", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="ascii")
        print(folder / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
