"""What a backup says of itself, in two files beside the data.

``dbcalm-manifest.json`` has the facts; ``dbcalm-files.json`` has every file with its checksum. The manifest holds the
checksum of the list, so the two cannot come apart, and its own. A folder that has both is a whole backup, and it is
ours: nothing without a manifest is ever used as one, or removed.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from dbcalm_mariadb_cmd.adapter.files import FileState, file_state, walk
from dbcalm_mariadb_cmd.adapter.small_files import LISTS, read_small
from dbcalm_mariadb_cmd.builder.argv import Binlog
from dbcalm_mariadb_cmd.builder.storage_format import FOLDER, FORMS
from dbcalm_mariadb_cmd.command.origin import Origin
from dbcalm_mariadb_cmd.command.requests import valid_id
from dbcalm_mariadb_cmd.command.shapes import (
    Count,
    Seq,
    Time,
    Unfit,
    Unsigned,
    Upto,
    Where,
    fitted,
    legible,
    parsed,
)

MANIFEST = "dbcalm-manifest.json"
FILES = "dbcalm-files.json"
HOLD = "dbcalm-hold.json"
HOLD_NEW = f"{HOLD}.new"
PROOF = "dbcalm-proof.json"
PROOF_NEW = f"{PROOF}.new"
INSTRUCTIONS = "RESTORE.md"
OURS = frozenset({MANIFEST, FILES, HOLD, HOLD_NEW, PROOF, PROOF_NEW, INSTRUCTIONS})
"""What lies in a backup's folder and is not of the backup: neither listed, nor checksummed, nor restored."""

_FORMAT = 1
_SEAL = "sha256"
_READ_AT_MOST = 4 << 30
_LARGEST = 800_000
"""Bytes of a manifest: what surely fits into a frame. A server with thousands of files in other places needs them."""


_Id = Annotated[str, Where(valid_id, "the id of a backup")]
_Form = Annotated[str, Where(FORMS.__contains__, f"one of {', '.join(FORMS)}")]
_Sentence = Annotated[str, Upto(4000)]
_Word = Annotated[str, Upto(200)]


class Damaged(Exception):
    """A backup's folder is missing or is not what was stored; the message says what is wrong with it."""


class Missing(Damaged):
    """There is no such backup: no folder of this name, or one that is not ours."""


@dataclass(frozen=True)
class Manifest:
    """The facts of one whole backup. Times are UTC text; ``seq`` orders all backups, whatever the clock did;
    ``timeline`` is the same for backups between which nobody put other data under the server.

    ``size`` counts the bytes that are stored, ``data_size`` those that a restore writes. A stream that was encrypted
    names the public keys of its ``recipients``. What was made before there were forms is a folder."""

    id: _Id
    type: Literal["full", "incremental"]
    from_backup_id: _Id | None
    seq: Seq
    job_id: _Word
    schedule_id: int | None
    timeline: _Word
    note: _Sentence | None
    start_time: Time
    end_time: Time
    size: Count
    file_count: Count
    files_sha256: _Word
    engine: _Word
    tool_version: _Word
    server: Origin
    from_lsn: Unsigned
    to_lsn: Unsigned
    last_lsn: Unsigned
    binlog: Binlog | None
    form: _Form = FOLDER
    data_size: Count | None = None
    recipients: tuple[_Word, ...] = ()
    instructions_sha256: _Word | None = None
    format: int = _FORMAT

    @property
    def restored_size(self) -> int:
        """Bytes that a restore writes, about."""
        return self.size if self.data_size is None else self.data_size

    def facts(self) -> dict[str, object]:
        """Return the manifest as JSON values."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> "Manifest":
        """Return the manifest of these JSON values; raise Unfit if they are not of its form."""
        # An older version may have written {} for a server without a binary log.
        made = fitted(cls, {**facts, "binlog": facts.get("binlog") or None})
        if made.from_backup_id == made.id or (made.type == "incremental" and made.from_backup_id is None):
            raise Unfit("from_backup_id must be the id of another backup")
        return made


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as it is stored: JSON, with the checksum of what it would be without that as its last key.
    Raise Damaged where nobody could read it again."""
    facts = legible(manifest.facts())
    try:
        Manifest.from_facts(json.loads(json.dumps(facts)))
    except Unfit as unfit:
        raise Damaged(f"backup {manifest.id} cannot be described: {unfit}") from unfit
    stored = sealed(facts)
    if len(stored) > _LARGEST:
        raise Damaged(
            f"backup {manifest.id} cannot be described in {_LARGEST} bytes: too much lies elsewhere"
        )
    return stored


def sealed(facts: dict[str, Any]) -> bytes:
    """Return these facts as JSON that vouches for itself."""
    seal = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return json.dumps({**facts, _SEAL: seal}, indent=1).encode()


def unsealed(stored: bytes) -> dict[str, Any]:
    """Return the facts of such JSON; raise Unfit if it is not just what was stored. Facts that were stored before there
    were seals have none."""
    facts = parsed(stored)
    if facts.pop(_SEAL, None) is not None and sealed(facts) != stored:
        raise Unfit("its checksum differs")
    return facts


def encode_files(files: dict[str, FileState]) -> bytes:
    """Return the list of files as it is stored; folders are the names that end in "/"."""
    rows = {name: [state.size, state.mtime_ns, state.ctime_ns, state.sha256] for name, state in files.items()}
    return json.dumps(rows, indent=0, separators=(",", ":")).encode()


def read_manifest(folder: Path, backup_id: str | None = None) -> Manifest:
    """Return the facts of the backup in this folder, which has its id for a name unless another is given, as in the
    trash; raise Missing or Damaged."""
    if not folder.is_dir():
        raise Missing(f"backup {folder.name} is gone: {folder} does not exist")
    try:
        stored = read_small(folder / MANIFEST, _LARGEST)
        made_by = parsed(stored).get("format")
        if type(made_by) is int and made_by > _FORMAT:
            raise Damaged(f"backup {folder.name} was made by a newer DBCalm (format {made_by})")
        manifest = Manifest.from_facts(unsealed(stored))
    except FileNotFoundError as error:
        raise Missing(f"{folder} has no {MANIFEST}: it is not a backup that DBCalm made") from error
    except (OSError, Unfit) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise Damaged(f"backup {folder.name} is damaged: {MANIFEST} cannot be read ({why})") from error
    if manifest.id != (backup_id or folder.name):
        raise Damaged(f"backup {folder.name} is damaged: its manifest is that of {manifest.id}")
    return manifest


def read_files(folder: Path, manifest: Manifest) -> dict[str, FileState]:
    """Return the stored list of files; raise Damaged if it is not the one that the manifest vouches for."""
    try:
        stored = read_small(folder / FILES, LISTS)
    except OSError as error:
        raise Damaged(f"backup {folder.name} is damaged: {FILES} cannot be read") from error
    if hashlib.sha256(stored).hexdigest() != manifest.files_sha256:
        raise Damaged(f"backup {folder.name} is damaged: {FILES} was changed")
    try:
        return _listed_in(stored)
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged(f"backup {folder.name} is damaged: {FILES} is no list of files ({error})") from error


def _listed_in(stored: bytes) -> dict[str, FileState]:
    """Return a stored list of files; raise ValueError or TypeError. A name that is not UTF-8 may stand in it."""
    files: dict[str, FileState] = {}
    for name, row in json.loads(stored).items():
        size, mtime_ns, ctime_ns, sha256 = row
        plain = name.removesuffix("/").split("/")
        whole = all(type(number) is int for number in (size, mtime_ns, ctime_ns)) and size >= 0
        if not whole or not isinstance(sha256, str) or {"", ".", ".."} & set(plain) or "\0" in name:
            raise ValueError(f"{legible(name[:100])} does not fit")
        files[name] = FileState(size, mtime_ns, ctime_ns, sha256)
    return files


def require_names_and_sizes(folder: Path, files: dict[str, FileState]) -> None:
    """Raise Damaged unless the folder holds just these files in their sizes. Reads no content."""
    found = {name: status for name, status in _walk(folder) if name not in OURS}
    for name in sorted(files.keys() | found.keys()):
        if name not in found:
            raise Damaged(f"backup {folder.name} is damaged: {name} is missing")
        if name not in files:
            raise Damaged(f"backup {folder.name} is damaged: {name} does not belong to it")
        if not name.endswith("/") and files[name].size != found[name].st_size:
            raise Damaged(
                f"backup {folder.name} is damaged: {name} has {found[name].st_size} bytes, not {files[name].size}"
            )


def require_unchanged(folder: Path, files: dict[str, FileState]) -> None:
    """Raise Damaged unless every file is as it was stored.

    Reads only the files that were written to since, and none if they are more than can be read while a caller waits.
    """
    require_names_and_sizes(folder, files)
    touched = [
        name
        for name, status in _walk(folder)
        if name in files and not name.endswith("/") and not files[name].unwritten(status)
    ]
    if sum(files[name].size for name in touched) > _READ_AT_MOST:
        raise Damaged(f"backup {folder.name} was written to after it was made, as by a copy to another disk")
    for name in touched:
        if file_state(folder / name).sha256 != files[name].sha256:
            raise Damaged(f"backup {folder.name} is damaged: the checksum of {name} differs")


def _walk(folder: Path) -> list[tuple[str, os.stat_result]]:
    try:
        return list(walk(folder))
    except OSError as error:
        raise Damaged(f"backup {folder.name} is damaged: {error}") from error
