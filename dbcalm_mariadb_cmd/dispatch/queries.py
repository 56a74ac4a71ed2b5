"""What the service tells of itself: backups, trash, progress and logs of jobs, and how things stand."""

import codecs
import json
import threading
import time
from dataclasses import asdict
from pathlib import Path

from dbcalm_cmd.process import Answer, log
from dbcalm_mariadb_cmd.adapter import resources
from dbcalm_mariadb_cmd.adapter.small_files import open_regular, read_small
from dbcalm_mariadb_cmd.backup.adopt import candidates
from dbcalm_mariadb_cmd.builder.argv import ENGINES
from dbcalm_mariadb_cmd.command.requests import (
    JobLog,
    JobProgress,
    ListBackups,
    LookAtBackups,
    ReportDatabase,
)
from dbcalm_mariadb_cmd.command.shapes import Unfit, fitted, parsed
from dbcalm_mariadb_cmd.config.keys import loaded
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.dispatch import restored_folders
from dbcalm_mariadb_cmd.dispatch.presence import Presence
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.jobs.progress import PROGRESS, State
from dbcalm_mariadb_cmd.preflight import checks as preflight
from dbcalm_mariadb_cmd.restore import rollback_copies, server_control
from dbcalm_mariadb_cmd.retention.guard import is_intact
from dbcalm_mariadb_cmd.storage.age_identity import require_opened
from dbcalm_mariadb_cmd.storage.choice import (
    effort,
    expected_size,
    programs_to_restore,
    programs_to_store,
    storing,
)
from dbcalm_mariadb_cmd.store.history import manifests, unreadable
from dbcalm_mariadb_cmd.store.hold import hold_of
from dbcalm_mariadb_cmd.store.manifest import Manifest
from dbcalm_mariadb_cmd.store.mark import absence
from dbcalm_mariadb_cmd.store.proof import RUNS, proof_of, told_proof
from dbcalm_mariadb_cmd.supervisor.control import JobControl
from dbcalm_mariadb_cmd.supervisor.standby_manager import Warmer

_WITH_DATABASE = ("backup", "restore", "bring_back")
_LISTED_AT_ONCE = 200
_EXAMINED_SECONDS = 5.0
_LOG_BYTES = 256 << 10
_MOST_TOLD = 900_000
"""Bytes of JSON that surely fit into a frame with what is around them."""


class Reports:
    """Answers questions. Nothing here takes a lock or changes anything."""

    def __init__(
        self, settings: Settings, control: JobControl, warmer: Warmer, config: Path | None = None
    ) -> None:
        self._settings = settings
        self._control = control
        self._warmer = warmer
        self._config = config
        self._reporting = threading.Lock()
        self._presence = Presence(settings.backup_dir)

    def backups(self, command: ListBackups) -> Answer:
        """Return the manifests of whole backups, some at a time: fewer if looking at their files takes long."""
        preflight.require_folders(self._settings)
        backup_dir, now = self._settings.backup_dir, self._control.journal.now()
        give_up = time.monotonic() + _EXAMINED_SECONDS
        listed: list[dict[str, object]] = []
        room = _MOST_TOLD
        for made in manifests(backup_dir, command.after):
            if len(listed) == _LISTED_AT_ONCE or (listed and command.examine and time.monotonic() > give_up):
                return _ok(backups=listed, more=True)
            folder = backup_dir / made.id
            hold = hold_of(folder, now)
            beside = {"hold": hold.told() if hold else None, "proof": told_proof(folder, made)}
            intact = is_intact(folder, made) if command.examine else None
            row = {**made.facts(), **beside, "intact": intact}
            length = len(json.dumps(row))
            if length > _MOST_TOLD:
                log("warning", f"the manifest of backup {made.id} is too long to be told")
                continue
            room -= length
            if room < 0:
                return _ok(backups=listed, more=True)
            listed.append(row)
        return _ok(backups=listed, more=False)

    def presence(self, command: LookAtBackups) -> Answer:
        """Return which backups are there, ``[id, what is wrong or None]`` each, as many as fit into an answer; or the
        ``problem`` of the folder of backups."""
        backup_dir = self._settings.backup_dir
        if problem := absence(backup_dir, self._settings.job_dir):
            return _ok(backups=[], more=False, backup_dir=str(backup_dir), problem=problem)
        found = self._presence.look(command.within)
        listed: list[list[str | None]] = []
        room = _MOST_TOLD
        for id, problem in found.items():
            if id <= command.after:
                continue
            room -= len(json.dumps([id, problem]))
            if room < 0:
                break
            listed.append([id, problem])
        return _ok(backups=listed, more=room < 0, backup_dir=str(backup_dir), problem=None)

    def adoptable(self) -> Answer:
        """Return the folders among the backups that are not ours, as many as fit into an answer, the oldest first."""
        preflight.require_folders(self._settings)
        listed: list[dict[str, object]] = []
        room = _MOST_TOLD
        engine = ENGINES[self._settings.db_type]
        for name, found, problem in candidates(self._settings.backup_dir, engine):
            row: dict[str, object] = {"name": name, "problem": problem, "type": None, "start_time": None}
            if found is not None:
                row |= {"type": found.type, "start_time": found.start_time}
            room -= len(json.dumps(row))
            if room < 0:
                break
            listed.append(row)
        return _ok(folders=listed, backup_dir=str(self._settings.backup_dir))

    def trash(self) -> Answer:
        """Return what can be undeleted, the last deleted first, as many as fit into an answer."""
        preflight.require_folders(self._settings)
        listed: list[dict[str, object]] = []
        room = _MOST_TOLD
        for entry, made in self._control.trash.readable():
            purge_at = entry.purge_at(self._settings.trash_delay)
            row = {**made.facts(), "deleted_at": entry.deleted_at, "purge_at": purge_at}
            room -= len(json.dumps(row))
            if room < 0:
                return _ok(backups=listed, more=True)
            listed.append(row)
        return _ok(backups=listed, more=False)

    def replaced(self) -> Answer:
        """Return what restores have replaced and what is still kept."""
        return _ok(replaced=rollback_copies.told(self._settings))

    def restored(self) -> Answer:
        """Return the folders that restores have made and that are still there."""
        if self._settings.restore_dir is None:
            preflight.require_folders(self._settings)
        return _ok(restored=restored_folders.told(self._restore_dir, self._control.journal))

    @property
    def _restore_dir(self) -> Path:
        return self._settings.restore_dir or self._settings.backup_dir / "restores"

    def database_wanted(self) -> Answer:
        """Return what the running job wants of the database."""
        self._control.history.catch_up()
        wanted = self._control.history.wanted or {}
        return _ok(**{name: wanted.get(name) for name in ("job_id", "database", "want")})

    def take_database(self, command: ReportDatabase) -> Answer:
        """Pass it on to the running job how the database is; nobody else wants to know."""
        wanted = self._control.history.wanted
        if wanted is None or wanted["job_id"] != command.job_id:
            return _ok()
        with self._reporting:  # The API and the command line may both pass it on.
            return server_control.report(self._job(command.job_id), command)

    def progress(self, command: JobProgress) -> Answer:
        """Return how far a job is."""
        try:
            told = fitted(State, parsed(read_small(self._job(command.job_id) / PROGRESS)), others=True)
        except (OSError, Unfit):
            return {"code": 404, "status": f"job {command.job_id} has told no progress"}
        return _ok(**asdict(told))

    def log(self, command: JobLog) -> Answer:
        """Return what a job's tool has said, from a byte on. No character is cut in two: one that is not whole yet is
        left for the next answer."""
        try:
            with open(open_regular(self._job(command.job_id) / "output.log"), "rb") as file:
                file.seek(command.offset)
                chunk = file.read(_LOG_BYTES)
                text, taken, begun = _text_that_fits(chunk)
                more = taken > 0 and bool(chunk[taken + begun :] or file.read(1))
        except FileNotFoundError:
            if not self._job(command.job_id).is_dir():
                return {"code": 404, "status": f"the log of job {command.job_id} is not kept"}
            text, taken, more = "", 0, False  # Its runner is about to begin.
        return _ok(text=text, offset=command.offset + taken, more=more)

    def check(self) -> Answer:
        """Report on all that a backup and a restore begin with."""
        control = self._control
        control.history.catch_up()
        if problem := absence(self._settings.backup_dir, self._settings.job_dir):
            return _ok(
                database={"ok": False, "message": problem},
                cause=None,
                folders=[problem],
                space={"free_bytes": 0, "needed_bytes": None},
                chain={"ids": [], "problem": None},
                trash={"count": 0, "bytes": 0},
                clock=control.history.clock.doubt(control.journal.now()),
                warm=self._warmer.told(),
            )
        newest = max(manifests(self._settings.backup_dir), key=lambda made: made.seq, default=None)
        database, cause, needed, advice = self._database(newest)
        return _ok(
            database=database,
            cause=cause,
            folders=self._unwritable() or preflight.exposed_folders(self._settings),
            space={"free_bytes": preflight.free_bytes(self._settings.backup_dir), "needed_bytes": needed},
            chain=self._chain(newest),
            trash={"count": len(control.trash.entries()), "bytes": control.trash.size()},
            clock=control.history.clock.doubt(control.journal.now()),
            warm=self._warmer.told(),
            restored=restored_folders.summed(self._restore_dir),
            replaced=restored_folders.summed_replaced(self._settings.data_dir),
            config=loaded(self._settings, self._config) if self._config else None,
            server_faults=self._server_faults(),
            **self._wrong(),
            **({"advice": advice} if advice else {}),
        )

    def _wrong(self) -> dict[str, object]:
        """Return sentences on what is wrong with folders, journal and manifests, by name; nothing where all is well."""
        told = {
            "unwritable": self._unwritable(),
            "journal": [*self._control.journal.problems(), *self._control.history.passed_over],
            "unreadable": unreadable(self._settings.backup_dir),
        }
        return {name: sentences for name, sentences in told.items() if sentences}

    def _unwritable(self) -> list[str]:
        return preflight.unusable_folders(preflight.all_folders(self._settings))

    def _server_faults(self) -> dict[str, object] | None:
        """Return what the newest proof by a server has told of tables that are bad in the server too, and of which
        backup it is; None for nothing."""
        backup_dir = self._settings.backup_dir
        for made in sorted(manifests(backup_dir), key=lambda made: -made.seq):
            proof = proof_of(backup_dir / made.id, made)
            if proof.level == RUNS:
                return {"backup_id": made.id, "faults": proof.server_faults} if proof.server_faults else None
        return None

    def _database(self, newest: Manifest | None) -> tuple[dict[str, object], object, int | None, str | None]:
        """Return how the database stands, the word for what is wrong with the account if it is that, and the space
        below which a full backup is refused, and advice about its keys. The database is not asked while a job works
        with it, which has its backup lock or wants it stopped."""
        running = self._control.history.open
        if running is not None and running["type"] in _WITH_DATABASE:
            message = f"job {running['job_id']} works with it ({running['type']})"
            return {"ok": True, "message": message}, None, None, None
        try:
            ready = preflight.ready_for_backup(self._settings, newest, self._control.history.restored_seq)
            how = storing(self._settings, None)
            programs_to_store(how)
            resources.require_open_files(ready.server.tablespaces, "a backup")
            resources.for_backup(effort(self._settings), how, resources.available_memory())
        except Refused as refused:
            return {"ok": False, "message": str(refused)}, refused.data.get("cause"), None, None
        message = f"{ready.tool} {ready.tool_version}, server {ready.server.origin.version}"
        needed = expected_size(ready.server.data_bytes, how, newest)
        return {"ok": True, "message": message}, None, needed + preflight.RESERVE, ready.server.advice

    def _chain(self, newest: Manifest | None) -> dict[str, object]:
        if newest is None:
            return {"ids": [], "problem": None}
        try:
            chain = preflight.chain_of(self._settings.backup_dir, newest.id)
            self._require_restorable(chain)
        except Refused as refused:
            return {"ids": [newest.id], "problem": str(refused)}
        return {"ids": [link.id for link in chain], "problem": None}

    def _require_restorable(self, chain: list[Manifest]) -> None:
        """Raise Refused if a program that a restore needs is missing, or if the host has a key and that does not open
        the newest backup: one look, however long the chain is."""
        settings = self._settings
        programs = programs_to_restore(settings, chain, preflight.backup_tool(settings))
        if settings.encryption_identity_file is not None:
            age = programs.get("age", "")
            require_opened(chain[-1:], settings.backup_dir, age, settings.encryption_identity_file, None)

    def _job(self, job_id: str) -> Path:
        return self._settings.job_dir / "jobs" / job_id


def _text_that_fits(chunk: bytes) -> tuple[str, int, int]:
    """Return the text of the first bytes of a log, as many as fit into an answer, how many these are, and how many more
    there are of a character that is not whole. What is no text, and each control character, takes six bytes of JSON."""
    while True:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(chunk)
        if len(json.dumps(text)) <= _MOST_TOLD:
            begun = len(decoder.getstate()[0])
            return text, len(chunk) - begun, begun
        chunk = chunk[: len(chunk) // 2]


def _ok(**fields: object) -> Answer:
    return {"code": 200, "status": "ok", **fields}
