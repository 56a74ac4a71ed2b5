"""Running the tools that make packages."""

import os
import subprocess
from pathlib import Path

from dev.package_lib.errors import PackageError


def run(command: list[str], epoch: int, home: Path) -> str:
    """Run a tool with nothing of the caller's environment or home; return what it said. Raise PackageError if it is
    missing or fails."""
    environment = {
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "HOME": str(home),
        "SOURCE_DATE_EPOCH": str(epoch),
    }
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    except FileNotFoundError:
        raise PackageError(f"{command[0]} is not installed; dev/prepare packagers installs it") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-10:]
        raise PackageError(f"{command[0]} ended with {done.returncode}: " + "\n".join(said))
    return done.stdout


def filled(template: Path, values: dict[str, str]) -> str:
    """Return a template with ``@name@`` replaced."""
    text = template.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text
