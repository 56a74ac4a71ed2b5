"""What is checked before a job is accepted, so that it fails in the first second and not after the copy."""

import os
import pwd
import shlex
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.adapter.files import size_of
from dbcalm_mariadb_cmd.adapter.server import facts as server
from dbcalm_mariadb_cmd.builder.argv import ENGINES, Engine
from dbcalm_mariadb_cmd.builder.layout import LOST_AND_FOUND
from dbcalm_mariadb_cmd.builder.storage_format import FOLDER
from dbcalm_mariadb_cmd.command.amounts import size
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.preflight import login
from dbcalm_mariadb_cmd.preflight.movable import fixtures
from dbcalm_mariadb_cmd.storage import standby
from dbcalm_mariadb_cmd.storage.choice import beside
from dbcalm_mariadb_cmd.store.manifest import (
    Damaged,
    Manifest,
    Missing,
    read_files,
    read_manifest,
    require_names_and_sizes,
    require_unchanged,
)
from dbcalm_mariadb_cmd.store.mark import absence
from dbcalm_mariadb_cmd.store.proof import proof_of, standing_fault
from dbcalm_mariadb_cmd.store.timeline import comparable, series

_TO_A_FOLDER = "restore to a folder instead"

_SPARE_SHARE = 0.05
"""Share of the database's disk that a warm copy leaves free."""

RESERVE = 64 << 20
"""Bytes that stay free beside every estimate: logs, metadata, and what is written meanwhile."""


@dataclass(frozen=True)
class Ready:
    """What the checks found: the tool, its version, the client, and the server."""

    tool: Path
    client: Path
    tool_version: str
    server: server.ServerFacts


def backup_tool(settings: Settings) -> Path:
    """Return the backup tool; raise Refused 503 if there is none."""
    return tool.find(settings.backup_bin, _engine(settings).programs)


def ready_for_backup(settings: Settings, newest: Manifest | None, restored_seq: int = 0) -> Ready:
    """Return what a backup needs to know; raise Refused 503 if the server, the tool or a grant is missing.

    ``newest`` is the backup whose place in the server's binary log is looked up, and ``restored_seq`` the number of our
    last restore into the data directory.
    """
    server.require_credentials(settings.backup_credentials_file)
    program = backup_tool(settings)
    client = tool.find(settings.client_bin, _engine(settings).clients)
    base = comparable(newest.binlog) if newest else None
    data_dir = settings.data_dir
    try:
        facts = server.read_facts(_engine(settings), client, settings.backup_credentials_file, base, data_dir)
    except Refused as refused:
        if restored_seq > (newest.seq if newest else 0):
            raise login.after_restore(refused) from refused
        raise
    found = tool.version(program)
    if series(found) != series(facts.origin.version):
        raise Refused(
            503,
            f"{program} is of version {found} and the server of {facts.origin.version}; install the server's own",
        )
    if facts.origin.data_dir != os.path.realpath(settings.data_dir):
        raise Refused(
            503,
            f"the server's data directory is {facts.origin.data_dir}, but data_dir is {settings.data_dir}",
        )
    if facts.problem:
        raise Refused(503, facts.problem)
    return Ready(program, client, found, facts)


def ready_for_restore(settings: Settings, chain: list[Manifest], target: str, target_path: Path) -> Path:
    """Return the tool if the chain can be restored now; raise Refused 503 if the target is not ready, 507 if it has
    too little space, 409 if the server keeps files where a restore does not put them."""
    server.require_credentials(settings.backup_credentials_file)
    program = backup_tool(settings)
    _require_same_tool(settings, program, chain[-1])
    if target == "database":
        if running := _occupied(settings):
            raise Refused(503, running.sentence)
        _require_empty(target_path)
        require_inside(settings, chain[-1], _TO_A_FOLDER)
        require_space(target_path, _needed_with_warm(target_path, chain), "the restore")
    else:
        require_space(target_path.parent, _restored(chain), "the restore")
    return program


def ready_for_replace(settings: Settings, chain: list[Manifest], advice: Callable[[], str]) -> Path:
    """Return the tool if the chain can take the place of what is in the data directory; raise Refused as
    ``ready_for_restore`` does, with this advice where there is no space. The server may run, and may be unable to."""
    require_exchange(settings)
    program = backup_tool(settings)
    _require_same_tool(settings, program, chain[-1])
    require_inside(settings, chain[-1], _TO_A_FOLDER)
    require_movable(settings.data_dir, _names_of(settings, chain))
    require_space(settings.data_dir, _needed_with_warm(settings.data_dir, chain), "the restore", advice)
    return program


def _restored(chain: list[Manifest]) -> int:
    return sum(manifest.restored_size for manifest in chain)


def _needed_with_warm(data_dir: Path, chain: list[Manifest]) -> int:
    """Return the bytes that a restore into the data directory needs: none where the warm copy is taken, and else less
    by the warm copy, which is removed first."""
    if standby.is_ready(data_dir, chain):
        return 0
    return max(0, _restored(chain) - sum(map(size_of, standby.folders(data_dir))))


def ready_for_warm(settings: Settings, newest: Manifest) -> tuple[Path, list[Manifest]]:
    """Return the tool and the chain of the newest backup if that can be kept prepared in the data directory; raise
    Refused."""
    if settings.db_type != "mariadb":
        raise Refused(409, "warm_restore is for MariaDB only")
    program = backup_tool(settings)
    _require_same_tool(settings, program, newest)
    require_inside(settings, newest, "warm_restore cannot be had")
    chain = chain_of(settings.backup_dir, newest.id)
    _require_not_suspect(settings.backup_dir, chain)
    needed = _needed_with_warm(settings.data_dir, chain) + _spare(settings.data_dir)
    require_space(settings.data_dir, needed, "the warm copy")
    return program, chain


def has_room_beside(data_dir: Path) -> bool:
    """Tell whether the database has room to grow beside a warm copy that is there."""
    return free_bytes(data_dir) >= _spare(data_dir)


def _spare(folder: Path) -> int:
    status = os.statvfs(folder)
    return int(status.f_blocks * status.f_frsize * _SPARE_SHARE)


def ready_for_rollup(
    settings: Settings, newest: Manifest | None, restored_seq: int
) -> tuple[Path, list[Manifest]]:
    """Return the tool and the chain of the newest backup if that can be rolled up into a full one; raise Refused 404 or
    409. ``restored_seq`` is the number of our last restore into the data directory. The server is not asked."""
    if newest is None:
        raise Refused(404, "there is no backup to roll up")
    if settings.db_type != "mariadb" or newest.engine != "mariadb":
        raise Refused(
            409, "only backups of a MariaDB can be rolled up: XtraBackup builds on nothing that is prepared"
        )
    if newest.type == "full":
        raise Refused(409, f"there is nothing to roll up: the newest backup {newest.id} is a full one")
    if restored_seq > newest.seq:
        raise Refused(
            409,
            f"a backup was restored into the data directory after {newest.id} was made: "
            "make a full backup of the server instead",
        )
    program = backup_tool(settings)
    _require_same_tool(settings, program, newest)
    require_inside(settings, newest, "make a full backup of the server instead")
    chain = chain_of(settings.backup_dir, newest.id)
    _require_not_suspect(settings.backup_dir, chain)
    return program, chain


def require_exchange(settings: Settings) -> None:
    """Raise Refused 503 or 409 unless what is in the data directory can be exchanged for other data, and the server be
    asked how it is then."""
    if settings.db_type != "mariadb":
        raise Refused(
            409, "only a MariaDB can be replaced in one call; stop the server, empty data_dir, restore"
        )
    server.require_credentials(settings.backup_credentials_file)
    client = tool.find(settings.client_bin, _engine(settings).clients)
    running = server.pulse(client, settings.backup_credentials_file)
    if running is not None and running.data_dir not in ("", os.path.realpath(settings.data_dir)):
        raise Refused(
            503, f"the server's data directory is {running.data_dir}, but data_dir is {settings.data_dir}"
        )
    _require_writable(settings.data_dir)


def require_movable(data_dir: Path, coming: set[str] | None) -> None:
    """Raise Refused 409 where something in the data directory is in the way of what has these names."""
    for path, why in fixtures(data_dir, coming):
        raise Refused(409, f"{path} {why}")


def _names_of(settings: Settings, chain: list[Manifest]) -> set[str] | None:
    """Return the names that a chain puts into the data directory, None where they are inside a stream."""
    if any(link.form != FOLDER for link in chain):
        return None
    files = (name for link in chain for name in read_files(settings.backup_dir / link.id, link))
    return {name.split("/", 1)[0] for name in files}


def is_server_running(settings: Settings) -> bool:
    """Tell whether a server answers, or works in the data directory."""
    running = _occupied(settings)
    return running is not None and running.sure


def _occupied(settings: Settings) -> server.Occupied | None:
    client = tool.find(settings.client_bin, _engine(settings).clients)
    return server.occupied(client, settings.backup_credentials_file, settings.data_dir)


def require_space(folder: Path, needed: int, what: str, advice: Callable[[], str] = str) -> None:
    """Raise Refused 507 unless the folder's file system has this many bytes to spare. ``advice`` is asked what else
    there is to say then."""
    free = free_bytes(folder)
    if free < needed + RESERVE:
        raise Refused(
            507,
            f"disk full: {what} needs about {size(needed + RESERVE)} in {folder}, {size(free)} are free"
            + advice(),
        )


def unusable_folders(folders: Mapping[str, Path]) -> list[str]:
    """Return a sentence for each of these folders, by the key that names it, that this user cannot write in."""
    return [
        f"{name}: user {_user()} cannot write in {folder}; it must be a folder of that user, its unit must allow it, "
        f"and its disk be mounted: findmnt --target {shlex.quote(str(folder))}"
        for name, folder in folders.items()
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK)
    ]


def require_folders(settings: Settings, *names: str) -> None:
    """Raise Refused 503 unless the folder of backups is the one that backups were made in, and this user can write in
    the folders of these keys."""
    if problem := absence(settings.backup_dir, settings.job_dir):
        raise Refused(503, problem)
    folders = all_folders(settings)
    if problems := unusable_folders({name: folders[name] for name in names}):
        raise Refused(503, "; ".join(problems))


def exposed_folders(settings: Settings) -> list[str]:
    """Return a sentence for each folder of jobs that is somebody else's, or that everybody may enter."""
    found = []
    for name, folder in all_folders(settings).items():
        with suppress(OSError):
            status = folder.stat()
            if status.st_uid != os.geteuid():
                found.append(f"{name}: {folder} must be owned by {_user()}")
            elif stat.S_IMODE(status.st_mode) & stat.S_IRWXO:
                found.append(f"{name}: everybody can enter {folder}; change that with: chmod o= {folder}")
    return found


def all_folders(settings: Settings) -> dict[str, Path]:
    """Return the folders of jobs by the keys that name them; without ``restore_dir`` restores go to ``backup_dir``."""
    folders = {"backup_dir": settings.backup_dir, "job_dir": settings.job_dir}
    if settings.restore_dir is not None:  # It is made where it is missing.
        made = settings.restore_dir.exists()
        folders["restore_dir"] = settings.restore_dir if made else settings.restore_dir.parent
    return folders


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def free_bytes(folder: Path) -> int:
    """Return what user mysql can still write on the folder's file system."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def chain_of(backup_dir: Path, backup_id: str) -> list[Manifest]:
    """Return the manifests that a restore of this backup needs, the full first; raise Refused 404 if the backup or a
    link is missing, 409 if one is damaged. Looks at names and sizes, not at content."""
    chain: list[Manifest] = []
    wanted: str | None = backup_id
    while wanted is not None:
        try:
            link = read_manifest(backup_dir / wanted)
            require_names_and_sizes(backup_dir / wanted, read_files(backup_dir / wanted, link))
        except Missing as error:
            if chain:
                raise Refused(404, f"the chain of {backup_id} is broken: {error}") from error
            foreign = (backup_dir / wanted).exists()
            raise Refused(
                404, f"there is no backup {wanted!r}" + (f": {error}" if foreign else "")
            ) from error
        except Damaged as error:
            raise Refused(409, str(error)) from error
        if chain and (link.seq >= chain[0].seq or link.to_lsn != chain[0].from_lsn):
            raise Refused(
                404, f"the chain of {backup_id} is broken: {chain[0].id} was not made on this {link.id}"
            )
        chain.insert(0, link)
        wanted = link.from_backup_id
    return chain


def chain_as_it_is(backup_dir: Path, backup_id: str) -> tuple[list[str], list[Manifest]]:
    """Return the ids of a backup and of what it builds on, the full one first, as far as the manifests can be read, and
    these manifests, none if one cannot be; raise Refused 404 if there is no such backup. Nothing else is looked at."""
    if not (backup_dir / backup_id).is_dir():
        raise Refused(404, f"there is no backup {backup_id!r}")
    ids: list[str] = []
    chain: list[Manifest] = []
    wanted: str | None = backup_id
    while wanted is not None and wanted not in ids:
        try:
            link = read_manifest(backup_dir / wanted)
        except Damaged:
            if (backup_dir / wanted).is_dir():
                ids.insert(0, wanted)
            return ids, []
        ids.insert(0, wanted)
        chain.insert(0, link)
        wanted = link.from_backup_id
    return ids, chain


@dataclass(frozen=True)
class Tools:
    """The paths of the programs that prove a chain; "" for those that are not needed."""

    tool: str = ""
    innochecksum: str = ""
    server: str = ""
    client: str = ""


NO_TOOLS = Tools()


def ready_for_verify(settings: Settings, chain: list[Manifest], scratch: Path, *, runs: bool) -> Tools:
    """Return the programs that bring this chain back into the folder ``scratch``, and prove that it ``runs``; raise
    Refused 503 if one is not installed, 409 if it is of another release series, 507 if there is too little space."""
    program, engine = backup_tool(settings), _engine(settings)
    _require_same_tool(settings, program, chain[-1])
    found = Tools(str(program), str(beside(program, ("innochecksum",))))
    if runs:
        database = beside(program, engine.servers)
        if series(tool.version(database)) != series(chain[-1].server.version):
            raise Refused(
                409,
                f"backup {chain[-1].id} is of a server {chain[-1].server.version}, and the one here is of "
                f"{tool.version(database)}; ask for level 2",
            )
        found = replace(
            found,
            server=str(database),
            client=str(tool.find(settings.client_bin, engine.clients)),
        )
    require_space(scratch, _restored(chain), "the verification")
    return found


def usable_chain(backup_dir: Path, backup_id: str) -> list[Manifest]:
    """Return the chain of a base, the full first, if all of it is unchanged; raise Refused as ``chain_of`` does."""
    chain = chain_of(backup_dir, backup_id)
    for link in chain:
        try:
            require_unchanged(backup_dir / link.id, read_files(backup_dir / link.id, link))
        except Damaged as error:
            raise Refused(409, str(error)) from error
    _require_not_suspect(backup_dir, chain)
    return chain


def _require_not_suspect(backup_dir: Path, chain: list[Manifest]) -> None:
    if found := standing_fault([proof_of(backup_dir / link.id, link) for link in chain]):
        place, fault = found
        raise Refused(409, f"backup {chain[place].id} is suspect: {fault}")


def _engine(settings: Settings) -> Engine:
    return ENGINES[settings.db_type]


def _require_empty(data_dir: Path) -> None:
    if set(_entries(data_dir)) - {data_dir / LOST_AND_FOUND, *standby.folders(data_dir)}:
        raise Refused(503, f"{server.NOT_EMPTY}: {data_dir}")
    _require_writable(data_dir)


def _entries(data_dir: Path) -> list[Path]:
    try:
        return list(data_dir.iterdir())
    except FileNotFoundError as error:
        raise Refused(
            503, f"data directory {data_dir} does not exist; make it, empty, owned by mysql"
        ) from error
    except OSError as error:
        raise Refused(503, f"data directory {data_dir} cannot be read: {error.strerror}") from error


def _require_writable(data_dir: Path) -> None:
    _entries(data_dir)
    # In a unit, a folder that took this one's place since the service's start is not the one that it may write to.
    if not os.access(data_dir, os.W_OK):
        raise Refused(
            503,
            f"user mysql cannot write in data directory {data_dir}; make it owned by mysql, and if it was made anew "
            "since, restart dbcalm-mariadb-cmd",
        )


def _require_same_tool(settings: Settings, program: Path, newest: Manifest) -> None:
    """Raise Refused 409 if this tool is not of the kind and release series that made the backup: it may not be able to
    prepare it, or say so only at the end."""
    found = tool.version(program)
    if newest.engine != settings.db_type or series(found) != series(newest.tool_version):
        made, present = f"{newest.engine} {newest.tool_version}", f"{settings.db_type} {found}"
        raise Refused(
            409, f"backup {newest.id} was made by the tool of {made}, and the one here is of {present}"
        )


def require_inside(settings: Settings, newest: Manifest, instead: str) -> None:
    """Raise Refused 409, with what to do instead, if the server kept files where a restore does not put them: it would
    start with the old ones and the restored ones mixed. With a table's link file (.isl) in place and its data beside
    it, it does not open that table."""
    elsewhere = newest.server.elsewhere
    kept = [f"{name} ({path})" for name, path in elsewhere.items()]
    files = read_files(settings.backup_dir / newest.id, newest)
    kept += [name for name in files if name.endswith(".isl") and name not in elsewhere]
    if kept:
        what = ", ".join(kept[:5]) + (f" and {len(kept) - 5} more" if len(kept) > 5 else "")
        raise Refused(409, f"the server kept files outside its data directory: {what}; {instead}")
