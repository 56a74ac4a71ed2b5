"""Stands in for systemctl in a sandbox, for its database: the words that the root service says to systemd, and no more.

Usage: python -m dev.sandbox_lib.systemctl SANDBOX VERB [OPTION …] UNIT
"""

import sys
from pathlib import Path

from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import Sandbox


def main(arguments: list[str]) -> int:
    """Do what systemctl would do; return its exit status."""
    folder, *words = arguments
    options, [verb, *_units] = _split(words)
    sandbox = Sandbox(Path(folder))
    failed = sandbox.root / "log" / "database-failed"
    if verb == "show":
        _show(options, running=sandbox.database.process is not None, failed=failed.exists())
    elif verb == "stop":
        sandbox.stop_db()
    elif verb == "start":
        try:
            sandbox.start_db()
        except SandboxError as error:  # As with --no-block: that it failed is told by its state.
            failed.write_text(f"{error}\n")
    elif verb == "reset-failed":
        failed.unlink(missing_ok=True)
    else:
        print(f"Unknown command verb {verb}.", file=sys.stderr)
        return 1
    return 0


def _show(options: list[str], *, running: bool, failed: bool) -> None:
    state = "active" if running else "failed" if failed else "inactive"
    facts = {
        "LoadState": "loaded",
        "ActiveState": state,
        "SubState": "running" if running else "dead",
        "Result": "exit-code" if failed else "success",
        "Job": "",
        "TriggeredBy": "",
    }
    [wanted] = [option.partition("=")[2].split(",") for option in options if option.startswith("--property=")]
    for name in wanted:
        print(facts[name] if "--value" in options else f"{name}={facts[name]}")


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    options = [word for word in words if word.startswith("-")]
    return options, [word for word in words if not word.startswith("-")]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
