"""Where the passwords of the server's key management are found again that no backup has.

The backup tool needs them when it prepares. They stand in the server's own option files, and no copy of them is kept:
only which files those are is noted with each backup, as a server that is stopped does not tell.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.files import write_synced
from dbcalm_mariadb_cmd.adapter.secrets import left_out_of, options_in
from dbcalm_mariadb_cmd.adapter.server.holders import DEFAULTS, option_files_of, options_printed
from dbcalm_mariadb_cmd.adapter.small_files import read_small, write_new
from dbcalm_mariadb_cmd.errors import JobFailed

NOTED = "server-options.json"
"""In the folder of jobs: the words of the server's command line that name its option files."""

BY_HAND = "keys.cnf"
"""Beside it, written by an administrator where the server's option files are not those of the backup's server."""


def note_source(found: Mapping[str, str], data_dir: Path, job_dir: Path) -> None:
    """Note where the server that works in this directory has its options, if some were left out of a backup; raise
    OSError."""
    if found:
        write_synced(job_dir / NOTED, json.dumps(option_files_of(data_dir)), 0o600)


@contextmanager
def put_before(argv: list[str], job_dir: Path, folder: Path) -> Iterator[list[str]]:
    """Yield the tool's command to prepare a backup, with the options that were left out of it put back in a file in
    this folder, for as long as the block lasts. Raise JobFailed where they are not found."""
    given = argv[1].removeprefix("--defaults-file=")
    try:
        config = read_small(Path(given))
    except OSError:
        config = b""  # The tool says so itself.
    names = left_out_of(config)
    if not names:
        yield argv
        return
    known = _known(job_dir)
    if missing := [name for name in names if not known.get(name)]:
        raise JobFailed(
            f"{missing[0]} is in no backup, and not found in the option files of this host's server; the backup tool "
            f"needs it: write {missing[0]}=FILE:/path, or the password, into {job_dir / BY_HAND}, a file that only "
            "user mysql can read, and try again"
        )
    fresh = folder / "prepare.cnf"
    lines = "".join(f"{name}={known[name]}\n" for name in names)
    write_new(fresh, config + b"\n[mysqld]\n" + lines.encode("latin-1"), 0o600)
    try:
        yield [argv[0], f"--defaults-file={fresh}", *argv[2:]]
    finally:
        fresh.unlink()


def _known(job_dir: Path) -> dict[str, str]:
    """Return the options of key management that are written by hand, or else stand in the server's option files."""
    files: list[str] = []
    with suppress(OSError, ValueError):
        noted = map(str, json.loads(read_small(job_dir / NOTED)))
        files = [word for word in noted if word.startswith(DEFAULTS)]
    by_hand = b""
    with suppress(FileNotFoundError):
        by_hand = read_small(job_dir / BY_HAND)
    printed = "\n".join(_plain(option) for option in options_printed(files) or ())
    return {**options_in(printed.encode("latin-1", "replace")), **options_in(by_hand)}


def _plain(option: str) -> str:
    """Return an option as the tool writes it: ``--loose-file-key-management-filekey=x`` is
    ``file_key_management_filekey=x``."""
    name, sign, value = option.removeprefix("--").partition("=")
    return f"{name.replace('-', '_').removeprefix('loose_')}{sign}{value}"
