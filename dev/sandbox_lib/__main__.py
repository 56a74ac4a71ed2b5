"""The command line of dev/sandbox."""

import argparse
import signal
import sys
from pathlib import Path

from dev.sandbox_lib import PROGRAMS, Sandbox, SandboxError


def main() -> int:
    """Do what the arguments say; return 0, or 1 with one line on standard error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = _parser().parse_args()
    try:
        if chosen.action == "up":
            _up(chosen.folder, chosen.built)
        elif chosen.action in ("kill", "restart"):
            getattr(Sandbox(chosen.folder), chosen.action)(chosen.program)
        else:
            getattr(Sandbox(chosen.folder), chosen.action.replace("-", "_"))()
    except (SandboxError, OSError) as error:
        print(f"dev/sandbox: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _up(folder: Path, built: Path | None) -> None:
    sandbox = Sandbox.up(folder, built)
    if sandbox.who.are_one:
        print(f"not root: all programs run as {sandbox.who.root.name}", file=sys.stderr)
    print((sandbox.folder / "sandbox.json").read_text(), end="")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dev/sandbox",
        description="A private installation of DBCalm with its own MariaDB, in one folder.",
        epilog="What a sandbox offers stands in DIR/sandbox.json; logs are in DIR/log.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in (
        ("up", "make and start it, or start what is down; prints sandbox.json"),
        ("down", "end all that runs in it, and remove it"),
        ("stop-db", "shut the database server down"),
        ("start-db", "start the database server"),
        ("wipe-db", "empty the data directory of the stopped server"),
        ("kill", "end a program with SIGKILL"),
        ("restart", "end a program, if it runs, and start it"),
    ):
        action = actions.add_parser(name, help=text)
        if name == "up":
            about = "run these programs, as `make binaries` builds them; else the checkout's code"
            action.add_argument("--built", metavar="FOLDER", type=Path, help=about)
        if name in ("kill", "restart"):
            action.add_argument("program", metavar="PROGRAM", choices=PROGRAMS, help=", ".join(PROGRAMS))
        action.add_argument("folder", metavar="DIR", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
