"""Which server it is, where its files really are, and how its data is written: what a later restore, and a later
incremental, must be able to compare.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.linux import birth_time
from dbcalm_mariadb_cmd.adapter.server.asking import Answer, Error
from dbcalm_mariadb_cmd.adapter.small_files import small_text
from dbcalm_mariadb_cmd.builder.argv import ENCRYPTING
from dbcalm_mariadb_cmd.command.origin import Origin
from dbcalm_mariadb_cmd.errors import Refused

PLUGINS = "plugins"
"""Among the settings, the plugins without which pages cannot be read."""

KEY_OF_THE_KEYS = "file_key_management_filekey"
"""Its value is a password, unless it names the file of one."""

_FIXED = (
    "innodb_page_size", "innodb_data_home_dir", "innodb_data_file_path", "innodb_undo_directory",
    "innodb_undo_tablespaces", "innodb_log_group_home_dir", "innodb_checksum_algorithm",
    "innodb_compression_algorithm", "innodb_encrypt_tables", "innodb_encrypt_log", "lower_case_table_names",
    "file_key_management_filename", KEY_OF_THE_KEYS, "file_key_management_encryption_algorithm",
    "file_key_management_digest", "file_key_management_use_pbkdf2",
    "hashicorp_key_management_vault_url", "hashicorp_key_management_vault_ca",
    "aws_key_management_master_key_id", "aws_key_management_region", "aws_key_management_key_spec",
    "default_table_encryption", "innodb_redo_log_encrypt",
)  # fmt: skip
"""Settings that the tool notes beside a full backup, or that say how pages are written. A chain is prepared with those
of its full backup. None of these is a secret but the one above, of which only a file's name is kept."""

_FOLDERS = {
    "innodb_log_group_home_dir": "", "aria_log_dir_path": "", "rocksdb_datadir": "#rocksdb",
    "rocksdb_wal_dir": "#rocksdb",
}  # fmt: skip
"""Variables that name a folder of the server's, and where a restore puts what is in it, below the data directory."""

WHEREABOUTS = {
    "plugins": "SELECT LOWER(PLUGIN_NAME), PLUGIN_TYPE FROM information_schema.PLUGINS WHERE PLUGIN_STATUS = 'ACTIVE' "
    "AND (PLUGIN_TYPE IN ('ENCRYPTION', 'KEYRING') OR PLUGIN_NAME LIKE 'provider\\_%')",
    "tablespaces": "SELECT NAME, FILENAME FROM information_schema.INNODB_SYS_TABLESPACES",
    "datafiles": "SELECT SPACE, PATH FROM information_schema.INNODB_SYS_DATAFILES",
    "files": "SELECT SPACE, PATH FROM information_schema.INNODB_DATAFILES",
}
"""What a server is asked, by name. Of the last three one is known to MariaDB since 10.6, one to MariaDB before, and one
to MySQL; the others fail, which is nothing."""

_FILES = ("tablespaces", "datafiles", "files")
_NUMBERED = re.compile(r"(.+?):\d.*")
_UNDO = re.compile(r"undo\d+")
_NOT_ASKED = Answer(error=Error(0, "it was not asked"))
_NOTED = "backup-my.cnf"
_NOTED_IN_ANOTHER_FORM = ("innodb_data_file_path", "innodb_checksum_algorithm")
_NOTED_SWITCHES = ("innodb_encrypt_tables", "innodb_encrypt_log")
_OPTION = re.compile(r"^(\w+)=(.*)$", re.MULTILINE)
_SWITCHES = {"1": "ON", "0": "OFF", "": "OFF"}

Answers = Mapping[str, Answer]


def of_server(answers: Answers, variables: dict[str, str], links: dict[str, str]) -> Origin:
    """Return the server of these answers and variables; ``links`` are those that lead out of its data directory. Raise
    Refused 503 if its first file cannot be found."""
    data_dir = Path(os.path.realpath(variables["datadir"]))
    plugins = _rows(answers, "plugins")
    keepers = [name for name, kind in plugins or () if kind in ("ENCRYPTION", "KEYRING")]
    switched = (value(variables, name).upper() not in ("", "OFF", "0") for name in ENCRYPTING)
    known = {} if plugins is None else {PLUGINS: ",".join(sorted(name for name, _ in plugins))}
    return Origin(
        version=variables["version"].split("-", 1)[0],
        data_dir=str(data_dir),
        ibdata=_ibdata(data_dir, variables),
        server_uuid=variables.get("server_uuid", ""),
        elsewhere=elsewhere(data_dir, variables, answers, links),
        encrypts=bool(keepers) or any(switched),
        settings=settings({**variables, **known}),
        links=links,
    )


def _rows(answers: Answers, name: str) -> tuple[tuple[str, ...], ...] | None:
    """Return the rows of two fields that a question gave, None if it was not answered."""
    answer = answers.get(name, _NOT_ASKED)
    return None if answer.error else tuple(row for row in answer.rows if len(row) == 2)


def value(variables: dict[str, str], name: str) -> str:
    """Return a variable's value, "" if it has none."""
    found = variables.get(name, "")
    return "" if found == "NULL" else found


def settings(variables: dict[str, str]) -> dict[str, str]:
    """Return of a server's variables those that a chain depends on."""
    found = {name: value(variables, name) for name in (*_FIXED, PLUGINS) if name in variables}
    secret = found.get(KEY_OF_THE_KEYS, "")
    if secret and not secret.startswith("FILE:"):
        found[KEY_OF_THE_KEYS] = "a password"
    return found


def noted_settings(folder: Path) -> dict[str, str] | None:
    """Return the settings that the tool has noted beside a full backup, None where it has not, as beside a stream. It
    notes fewer of them, and the files of the system tablespace and the checksum in a form of its own."""
    try:
        noted = dict(_OPTION.findall(small_text(folder / _NOTED)))
    except OSError:
        return None
    loaded = (part.partition("=")[0].lower() for part in noted.get("plugin_load", "").split(";") if part)
    found = {
        **{name: noted[name] for name in _FIXED if name in noted and name not in _NOTED_IN_ANOTHER_FORM},
        **{name: _SWITCHES.get(noted.get(name, ""), noted.get(name, "")) for name in _NOTED_SWITCHES},
        PLUGINS: ",".join(sorted(loaded)),
    }
    return settings(found)


def elsewhere(
    data_dir: Path, variables: dict[str, str], answers: Answers, links: dict[str, str]
) -> dict[str, str]:
    """Return what a restore would not put back where this server expects it: names, and where it is now.

    A restore puts InnoDB's own files, undo and redo log, and Aria's log, straight into the data directory, and each
    table into its database's folder. A table or a database that is a link comes back as a file or a folder, which the
    server takes as well; a link that stands for one of InnoDB's own files does not."""
    found = dict(_system_files(data_dir, variables))
    for name, place in _FOLDERS.items():
        said = value(variables, name)
        path = Path(os.path.realpath(data_dir / said))
        if said and path != data_dir / place:
            found[name] = str(path)
    found |= _tables(data_dir, answers)
    undo = _undo(data_dir, variables, answers)
    if undo is not None:
        found["innodb_undo_directory"] = str(undo)
    own = {name: target for name, target in links.items() if _is_own(name)}
    return {**found, **own}


def _system_files(data_dir: Path, variables: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the files of the system tablespace that are not in the data directory itself."""
    home = value(variables, "innodb_data_home_dir")
    folder = Path(os.path.realpath(data_dir / home))
    if folder != data_dir:
        yield "innodb_data_home_dir", str(folder)
    for name in _file_names(variables):
        path = data_dir / home / name
        real = Path(os.path.realpath(path.parent)) / path.name
        if real.parent != data_dir and not (real.parent == folder and "/" not in name):
            yield path.name, str(real)


def _file_names(variables: dict[str, str]) -> list[str]:
    """Return the files that innodb_data_file_path names: "ibdata1" and "/disk2/ibdata2" of
    "ibdata1:12M;/disk2/ibdata2:50M:autoextend"."""
    parts = value(variables, "innodb_data_file_path").split(";")
    return [found[1] if (found := _NUMBERED.fullmatch(part)) else part for part in parts if part]


def _tables(data_dir: Path, answers: Answers) -> dict[str, str]:
    """Return the tablespaces of tables that are outside, by the link file (.isl) that stands for each."""
    found: dict[str, str] = {}
    is_inside = _inside(data_dir)
    for file in _told_files(answers):
        if file.endswith(".ibd") and not is_inside(file):
            path = Path(file)
            found[f"{path.parent.name}/{path.stem}.isl"] = os.path.realpath(data_dir / file)
    return found


def _told_files(answers: Answers) -> Iterator[str]:
    return (file for name in _FILES for _, file in _rows(answers, name) or () if file != "NULL")


def _inside(data_dir: Path) -> Callable[[str], bool]:
    """Return what tells whether a file's folder, each looked up once, is one in the data directory. That of a database
    that is a link counts as one."""
    known: dict[Path, bool] = {}

    def is_inside(file: str) -> bool:
        folder = Path(file).parent
        if folder not in known:
            path = Path(os.path.normpath(data_dir / folder))
            known[folder] = path.is_relative_to(data_dir) or Path(os.path.realpath(path)).is_relative_to(
                data_dir
            )
        return known[folder]

    return is_inside


def _undo(data_dir: Path, variables: dict[str, str], answers: Answers) -> Path | None:
    """Return the folder outside in which undo tablespaces are, or None, also where the server lists all its files and
    none of them is one."""
    path = Path(os.path.realpath(data_dir / value(variables, "innodb_undo_directory")))
    named = [file for _, file in _rows(answers, "tablespaces") or ()]
    lists_all = any(Path(file).name.startswith("ibdata") for file in named)  # Since MariaDB 10.6.
    if lists_all and not any(_UNDO.fullmatch(Path(file).name) for file in named):
        return None
    return path if path != data_dir else None


def _is_own(name: str) -> bool:
    """Tell whether a name in the data directory is that of one of the engines' own files, and not of a database's."""
    return name.startswith(
        ("ibdata", "ib_logfile", "undo", "aria_log", "#ib_redo", "#innodb_redo", "#rocksdb")
    )


def _ibdata(data_dir: Path, variables: dict[str, str]) -> tuple[int, int]:
    first = next(iter(_file_names(variables)), "ibdata1")
    path = data_dir / value(variables, "innodb_data_home_dir") / first
    try:
        return path.stat().st_ino, birth_time(path)
    except OSError as error:
        raise Refused(
            503,
            f"user mysql cannot read the server's data directory: {path}: {error.strerror}",
        ) from error
