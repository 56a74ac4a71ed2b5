"""Backups as one file: made of the tool's stream on its way, and unpacked straight to where they are needed."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.adapter.files import FileState, file_state, walk
from dbcalm_mariadb_cmd.builder.layout import Places
from dbcalm_mariadb_cmd.builder.storage_format import (
    CHECKPOINTS,
    PACKERS,
    Storing,
    seal_argv,
    stream_argv,
    stream_name,
    unseal_argv,
    unstream_argv,
)
from dbcalm_mariadb_cmd.errors import BackupFault, JobFailed
from dbcalm_mariadb_cmd.storage.age_identity import path_of
from dbcalm_mariadb_cmd.storage.pipeline import Log, Member, pack, unpack
from dbcalm_mariadb_cmd.store.manifest import Manifest, read_files
from dbcalm_mariadb_cmd.store.proof import INTACT

_STREAMING = re.compile(r"\[\d+\] \S+ \S+ Streaming (?:\./)?(.+?)(?: to <STDOUT>)?")
_TOOL = "the backup tool"


@dataclass(frozen=True)
class Stored:
    """A stream that was stored: the state of each file in the backup's folder, the bytes that a restore will write,
    and the link files (.isl) of tables that the server keeps elsewhere."""

    files: dict[str, FileState]
    data_size: int
    links: list[str]


@dataclass
class _Seen:
    """What the tool says that it has put into its stream, as far as that matters."""

    on_line: Callable[[str], None]
    links: list[str] = field(default_factory=list)
    corrupted: bool = False

    def follow(self, line: str) -> None:
        """Take a line of the tool's log."""
        self.on_line(line)
        if streaming := _STREAMING.fullmatch(line):
            self.corrupted = self.corrupted or streaming[1] == tool.CORRUPTED
            if streaming[1].endswith(".isl"):
                self.links.append(streaming[1])


def store(
    copying: list[str],
    storing: Storing,
    places: Places,
    folder: Path,
    output: tool.Output,
    on_start: Callable[[int], None],
    lock: int,
    on_line: Callable[[str], None],
    edit: Callable[[bytes], bytes] | None = None,
) -> Stored:
    """Run the backup tool, whose process id ``on_start`` gets and whose log ``on_line``, and store its stream in this
    folder, with the tool's options as ``edit`` makes them; raise JobFailed or OSError."""
    seen = _Seen(on_line)
    members = [Member(_TOOL, copying, is_tool=True), *_packing(storing, places)]
    name = stream_name(storing.form, storing.recipients)
    state, data_size = pack(members, folder / name, Log(output, seen.follow), lock, on_start, edit=edit)
    if seen.corrupted:
        raise tool.corrupted()
    return Stored({name: state, **_beside(folder)}, data_size, seen.links)


def store_files(
    data: Path,
    names: Path,
    storing: Storing,
    places: Places,
    folder: Path,
    output: tool.Output,
    on_bytes: Callable[[int], None],
    lock: int,
) -> Stored:
    """Store the files of a folder, whose names are listed in a file, as a stream in another folder, which has the
    tool's facts already; raise JobFailed or OSError."""
    streaming = stream_argv(places.unstream, data, names)
    members = [Member(Path(places.unstream).name, streaming), *_packing(storing, places)]
    name = stream_name(storing.form, storing.recipients)
    log = Log(output, lambda _line: None)
    state, data_size = pack(members, folder / name, log, lock, on_bytes=on_bytes)
    return Stored({name: state, **_beside(folder)}, data_size, [])


def _beside(folder: Path) -> dict[str, FileState]:
    """Return the state of what lies beside a stream."""
    beside = [f"{CHECKPOINTS}/{path}" for path, _ in walk(folder / CHECKPOINTS)]
    return {f"{CHECKPOINTS}/": FileState(0, 0, 0, ""), **{path: file_state(folder / path) for path in beside}}


def packing_argvs(storing: Storing, places: Places) -> list[list[str]]:
    """Return the commands that the tool's stream goes through before it is stored, in order."""
    return [list(member.argv) for member in _packing(storing, places)]


def _packing(storing: Storing, places: Places) -> list[Member]:
    packer = PACKERS[storing.form]
    words = packer.packing(storing.level, storing.threads)
    members = [Member(packer.program, [places.program(packer.program), *words])]
    if storing.recipients:
        members.append(Member("age", seal_argv(places.age, storing.recipients)))
    return members


def bring(
    manifest: Manifest,
    target: Path,
    places: Places,
    output: tool.Output,
    on_start: Callable[[int], None],
    lock: int,
    identity: int | None = None,
) -> None:
    """Unpack a backup's stream into a new folder; raise JobFailed, Damaged or OSError. ``on_start`` gets the id of the
    process that writes it, and ``identity`` is a descriptor of the private keys where they are not in the file that
    ``places`` names."""
    source = places.backup(manifest.id)
    name = stream_name(manifest.form, manifest.recipients)
    files = {
        path: state.sha256 for path, state in read_files(source, manifest).items() if not path.endswith("/")
    }
    expected = files.pop(name)
    for path, sha256 in files.items():
        if file_state(source / path).sha256 != sha256:
            raise _damaged(manifest, source / path)
    target.mkdir(0o700)
    members = _unpacking(manifest, places, target, identity)
    try:
        found = unpack(members, source / name, Log(output, lambda _line: None), on_start, lock)
    except JobFailed as failure:
        # What is damaged is often told by a program that cannot read it, in its own words: look for the cause.
        if file_state(source / name).sha256 == expected:
            raise
        raise _damaged(manifest, source / name, f"; {failure}") from failure
    if found != expected:
        raise _damaged(manifest, source / name)


def _damaged(manifest: Manifest, path: Path, more: str = "") -> BackupFault:
    return BackupFault(
        manifest.id, INTACT, f"backup {manifest.id} is damaged: the checksum of {path} differs{more}"
    )


def _unpacking(manifest: Manifest, places: Places, target: Path, identity: int | None) -> list[Member]:
    packer = PACKERS[manifest.form]
    members = [
        Member(packer.program, [places.program(packer.program), *packer.unpacking()]),
        Member(Path(places.unstream).name, unstream_argv(places.unstream, target)),
    ]
    if manifest.recipients:
        keys, inherited = (places.identity, ()) if identity is None else (path_of(identity), (identity,))
        members.insert(0, Member("age", unseal_argv(places.age, keys), inherited))
    return members
