"""From a command to a job that may start: what is checked, what is decided, and what is told of it."""

import os
import shlex
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from dbcalm_cmd.process import Answer
from dbcalm_mariadb_cmd.adapter import resources
from dbcalm_mariadb_cmd.adapter.server import running
from dbcalm_mariadb_cmd.adapter.server.origin import noted_settings
from dbcalm_mariadb_cmd.adapter.tool import find
from dbcalm_mariadb_cmd.backup import synthesize
from dbcalm_mariadb_cmd.backup import take as backup
from dbcalm_mariadb_cmd.backup.adopt import link, read
from dbcalm_mariadb_cmd.backup.left_out import not_compared
from dbcalm_mariadb_cmd.builder import likeness
from dbcalm_mariadb_cmd.builder.argv import ENGINES
from dbcalm_mariadb_cmd.builder.layout import REPLACED, Places
from dbcalm_mariadb_cmd.builder.storage_format import FOLDER
from dbcalm_mariadb_cmd.clock import moment
from dbcalm_mariadb_cmd.command.amounts import minute, size, span
from dbcalm_mariadb_cmd.command.origin import Origin
from dbcalm_mariadb_cmd.command.requests import (
    AdoptBackup,
    BringBack,
    CleanupBackups,
    FullBackup,
    IncrementalBackup,
    RestoreBackup,
    VerifyBackup,
)
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.jobs.order import (
    AdoptJob,
    BackupJob,
    BringBackJob,
    CleanupJob,
    RestoreJob,
    SyntheticJob,
    VerifyJob,
    WarmJob,
)
from dbcalm_mariadb_cmd.preflight import checks as preflight
from dbcalm_mariadb_cmd.preflight import login
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.restore.rollback_copies import kept_in
from dbcalm_mariadb_cmd.retention.guard import Limits, Stock, permitted
from dbcalm_mariadb_cmd.retention.trash import Trash
from dbcalm_mariadb_cmd.storage import choice as storage_choice
from dbcalm_mariadb_cmd.storage.age_identity import require_opened
from dbcalm_mariadb_cmd.store.history import History
from dbcalm_mariadb_cmd.store.manifest import MANIFEST, Manifest
from dbcalm_mariadb_cmd.store.proof import APPLIES, INTACT, RUNS, proof_of, standing_fault
from dbcalm_mariadb_cmd.store.restore_instructions import LINK_FILE, REBUILD
from dbcalm_mariadb_cmd.store.timeline import changed, doubt
from dbcalm_mariadb_cmd.supervisor.control import Plan

_STAMP = "%Y-%m-%d-%H-%M-%S"
_NOT_TOLD = ("job_id", "or_full", "identity")
_KEYS_APART = (
    "the server encrypts its tables or logs: their keys are in no backup, and without them none can be restored; "
    "keep a copy of them elsewhere"
)
_NO_KEYS = (
    "the server encrypts by itself, with keys that are in no backup; "
    "more can be proven while it runs with file_key_management and a key file that user mysql can read"
)
_TOLD_REASONS = 3
_LONGEST_REASON = 400
_LAST_NICENESS, _IDLE_CLASS = 19, 3
"""What makes a process stand back behind everything else (nice(2), ioprio_set(2))."""


class Planner:
    """Plans jobs. Its methods are called under the lock and raise Refused where a job may not start."""

    def __init__(self, settings: Settings, restore_dir: Path, history: History) -> None:
        self._settings = settings
        self._restore_dir = restore_dir
        self._history = history

    def full(self, command: FullBackup) -> Plan:
        """Plan a full backup, of the server or of the newest chain."""
        if command.synthetic:
            return self._synthetic(command)
        ready = self._ready(self._history.newest)
        return self._backup(command, ready, None, None, self._timeline(ready))

    def incremental(self, command: IncrementalBackup) -> Plan:
        """Plan an incremental backup, or a full one where the base cannot be trusted or its chain has had its time."""
        chain, why = self._chain(command)
        base = chain[-1] if chain else None
        ready = self._ready(base or self._history.newest)
        if base is not None:
            why = doubt(base, ready.server, self._history.restored_seq)
        timeline = None if why or base is None else base.timeline
        why = why or self._changed(chain, ready.server.origin) or self._outgrown(chain)
        note = f"a full backup is made instead: {why}" if why else None
        return self._backup(command, ready, None if why else base, note, timeline)

    def cleanup(self, command: CleanupBackups) -> Plan:
        """Plan to delete those of the backups that may go; that none may is a job too, which says why."""
        settings, now = self._settings, self._history.journal.now()
        ids: list[str] = []
        if doubted := self._history.clock.doubt(now):
            note: str | None = f"nothing is deleted: {doubted}"
        else:
            limits = Limits(settings.min_full_chains, settings.min_age)
            ids, reasons = permitted(Stock(settings.backup_dir, limits, now), command.ids)
            note = _not_deleted(reasons)
        job = CleanupJob(
            job_id=command.job_id,
            places=self._places(None),
            ids=tuple(ids),
            schedule_id=command.schedule_id,
            min_full_chains=settings.min_full_chains,
            min_age_seconds=settings.min_age.total_seconds(),
        )
        event: dict[str, object] = {
            "type": "cleanup_backups",
            "seq": 0,
            "args": {"schedule_id": command.schedule_id, "ids": len(command.ids)},
            "resource_id": None,
            "note": note,
        }
        answer = _accepted(job_id=job.job_id, id=None, deleting=ids, note=note)
        return Plan(job, [], event, answer, f"delete {', '.join(ids) or 'nothing'}")

    def restore(self, command: RestoreBackup) -> Plan:
        """Plan a restore of a backup and its chain."""
        chain = preflight.chain_of(self._settings.backup_dir, command.id)
        restore_id, target_path = self._target(command)
        effort, short = resources.for_restore(
            storage_choice.effort(self._settings), resources.available_memory()
        )
        if command.replace:
            tool = preflight.ready_for_replace(self._settings, chain, self._kept_advice)
        else:
            tool = preflight.ready_for_restore(self._settings, chain, command.target, target_path)
        places = self._places(tool, storage_choice.programs_to_restore(self._settings, chain, tool))
        self._require_opened(chain, places, command.identity)
        job = RestoreJob(
            job_id=command.job_id,
            places=places,
            restore_id=restore_id,
            seq=self._history.next_seq(),
            chain=tuple(link.id for link in chain),
            target=command.target,
            target_path=str(target_path),
            replaces=command.replace,
            was_running=command.replace and preflight.is_server_running(self._settings),
            effort=effort,
        )
        account = None
        if command.target == "database":
            account = login.foreseen(self._settings.backup_credentials_file, chain[-1])
        short = _joined(short, self._suspected(chain), _placed(chain[-1].server), account)
        what: dict[str, object] = {
            "restore_id": restore_id,
            "target": job.target,
            "target_path": job.target_path,
        }
        event: dict[str, object] = {
            "type": "restore",
            "seq": job.seq,
            "breaks_timeline": command.target == "database",
            "args": _told(command),
            "resource_id": command.id,
            "note": short,
            "restore": {**what, "backup_id": command.id, "backup_timestamp": chain[-1].start_time},
        }
        answer = _accepted(job_id=job.job_id, id=command.id, chain=list(job.chain), note=short, **what)
        return Plan(job, restore.prepares(job), event, answer, identity=command.identity)

    def _suspected(self, chain: list[Manifest]) -> str | None:
        """Return what was found wrong with a chain that is to be restored all the same."""
        found = standing_fault([proof_of(self._settings.backup_dir / link.id, link) for link in chain])
        return f"a verification has found fault with it: {found[1]}" if found else None

    def verify(self, command: VerifyBackup) -> Plan:
        """Plan to prove that a backup comes back. That it is damaged is for the job to find: it is what the job is for.
        Where the level that was asked for cannot be had here by any means, it is a lower one, and the note says so."""
        settings = self._settings
        ids, chain = preflight.chain_as_it_is(settings.backup_dir, command.id)
        found = self._ways(chain) if command.level > INTACT else running.NO_WAYS
        level, note = self._provable(command, chain, found)
        effort, short = resources.for_restore(storage_choice.effort(settings), resources.available_memory())
        places, programs = self._places(None), preflight.NO_TOOLS
        if level > INTACT:
            programs = preflight.ready_for_verify(settings, chain, self._restore_dir, runs=level == RUNS)
            tool = Path(programs.tool)
            places = self._places(tool, storage_choice.programs_to_restore(settings, chain, tool))
            places = replace(places, client=programs.client)
            self._require_opened(chain, places, command.identity)
        restore_id, target_path = self._aside(command.id)
        job = VerifyJob(
            job_id=command.job_id,
            places=places,
            restore_id=restore_id,
            seq=0,
            chain=tuple(ids),
            target="folder",
            target_path=str(target_path),
            effort=effort,
            level=level,
            innochecksum=programs.innochecksum,
            server=programs.server,
            likeness=tuple(likeness.options(found.settings, found.plugins, found.plugin_dir))
            if level == RUNS
            else (),
            assertions=settings.verify_assertions,
            schedule_id=command.schedule_id,
        )
        note = _joined(note, short)
        event: dict[str, object] = {
            "type": "verify",
            "seq": 0,
            "args": _told(command),
            "resource_id": command.id,
            "note": note,
        }
        answer = _accepted(job_id=job.job_id, id=command.id, chain=ids, level=level, note=note)
        commands = restore.prepares(job) if level > INTACT else []
        words = "" if commands else f"read {', '.join(ids)}"
        return Plan(job, commands, event, answer, words, identity=command.identity)

    def _ways(self, chain: list[Manifest]) -> running.Ways:
        """Return how the server reads its data, as far as it says so; what stands in the manifest goes before."""
        try:
            client = find(self._settings.client_bin, ENGINES[self._settings.db_type].clients)
        except Refused:
            return running.NO_WAYS  # Whatever needs a client says that there is none.
        found = running.ways(running.Running(str(client), str(self._settings.backup_credentials_file)))
        return running.as_noted(found, (chain[-1].server.settings if chain else None) or {})

    def adopt(self, command: AdoptBackup) -> Plan:
        """Plan to take over a backup that somebody else has made."""
        settings = self._settings
        folder, engine = settings.backup_dir / command.id, ENGINES[settings.db_type]
        if not folder.is_dir():
            raise Refused(404, f"there is no folder {command.id} in {settings.backup_dir}")
        if (folder / MANIFEST).exists():
            raise Refused(409, f"{command.id} is a backup of DBCalm already")
        found = read(folder, engine)
        base, sure = link(found, settings.backup_dir, engine)
        job = AdoptJob(command.job_id, self._places(None), command.id)
        note = f"{sure}; of {found.start_time}; {not_compared(command.id)}"
        event: dict[str, object] = {
            "type": "adopt",
            "seq": 0,
            "args": {"id": command.id},
            "resource_id": command.id,
            "note": note,
        }
        made_on = base.id if base else None
        answer = _accepted(
            job_id=job.job_id, id=command.id, type=found.type, from_backup_id=made_on, note=note
        )
        return Plan(job, [], event, answer, f"read {folder}")

    def _provable(
        self, command: VerifyBackup, chain: list[Manifest], found: running.Ways
    ) -> tuple[int, str | None]:
        """Return the level to which this chain can be proven here, with the ways of the running server, and why that is
        less than was asked for."""
        settings, level = self._settings, command.level
        if level == INTACT:
            return level, None
        if not chain:
            return INTACT, "level 1 only: its manifest, or one below it, cannot be read"
        newest = chain[-1]
        closed = command.identity is None and settings.encryption_identity_file is None
        if closed and any(link.recipients for link in chain):
            return INTACT, "level 1 only: it is encrypted, and encryption_identity_file is not set"
        if newest.server.encrypts and not _readable(likeness.keys_of(found.settings, found.plugins)):
            return INTACT, f"level 1 only: {_NO_KEYS}"
        if level == RUNS and newest.engine != "mariadb":
            return APPLIES, "level 2 only: level 3 is for MariaDB"
        try:
            if level == RUNS:
                preflight.require_inside(settings, newest, "")
        except Refused as refused:
            return APPLIES, f"level 2 only: {str(refused).rstrip('; ')}"
        return level, None

    def bring_back(self, command: BringBack) -> Plan:
        """Plan to bring back what a restore replaced."""
        settings = self._settings
        kept = next((kept for kept in kept_in(settings.data_dir) if kept.facts.id == command.id), None)
        if kept is None:
            raise Refused(404, f"nothing that was replaced is kept as {command.id}")
        preflight.require_exchange(settings)
        preflight.require_movable(settings.data_dir, {path.name for path in kept.folder.iterdir()})
        stamp = datetime.now(UTC).strftime(_STAMP)
        job = BringBackJob(
            job_id=command.job_id,
            places=self._places(None),
            restore_id=_free_name(settings.data_dir, f"brought-back-{stamp}", REPLACED),
            seq=self._history.next_seq(),
            brings_back=command.id,
            was_running=preflight.is_server_running(settings),
        )
        event: dict[str, object] = {
            "type": "bring_back",
            "seq": job.seq,
            "breaks_timeline": True,
            "args": {"id": command.id},
            "resource_id": command.id,
            "note": None,
        }
        answer = _accepted(job_id=job.job_id, id=command.id)
        return Plan(job, [], event, answer, f"exchange the data directory for {kept.folder}")

    def warm(self, newest: Manifest) -> WarmJob:
        """Plan to keep the chain of the newest backup prepared in the data directory."""
        settings = self._settings
        tool, chain = preflight.ready_for_warm(settings, newest)
        effort, _ = resources.for_restore(storage_choice.effort(settings), resources.available_memory())
        places = self._places(tool, storage_choice.programs_to_restore(settings, chain, tool))
        self._require_opened(chain, places)
        return WarmJob(
            job_id="warm",
            places=places,
            restore_id="warm",
            seq=0,
            chain=tuple(link.id for link in chain),
            target="folder",
            target_path=str(settings.data_dir),
            effort=replace(effort, niceness=_LAST_NICENESS, io_class=_IDLE_CLASS),
        )

    def _chain(self, command: IncrementalBackup) -> tuple[list[Manifest], str | None]:
        """Return the base's chain, the base last, or an empty one and why a full backup has to do."""
        try:
            return preflight.usable_chain(self._settings.backup_dir, command.from_backup_id), None
        except Refused as refused:
            if not command.or_full:
                raise
            return [], str(refused)

    def _changed(self, chain: list[Manifest], now: Origin) -> str | None:
        """Return which settings keep an incremental on this chain from being prepared with it, or None."""
        if not chain:
            return None
        full = chain[0]
        then = full.server.settings or noted_settings(self._settings.backup_dir / full.id)
        if then is None:
            return f"{full.id} is of an older DBCalm, which did not note the server's settings beside it"
        return changed(then, now.settings or {}, full.id)

    def _outgrown(self, chain: list[Manifest]) -> str | None:
        """Return why this chain shall not be made longer, or None."""
        longest, oldest = self._settings.max_chain_length, self._settings.full_every
        if not chain:
            return None
        if longest and len(chain) + 1 > longest:
            return f"the chain of {chain[-1].id} has {len(chain)} backups, and max_chain_length is {longest}"
        if oldest:
            age = moment(self._history.journal.now()) - moment(chain[0].start_time)
            if age >= oldest:
                return f"the chain's full backup {chain[0].id} is {span(age)} old, and full_every is {span(oldest)}"
        return None

    def _backup(
        self,
        command: FullBackup | IncrementalBackup,
        ready: preflight.Ready,
        base: Manifest | None,
        note: str | None,
        timeline: str | None,
    ) -> Plan:
        """Plan a backup on this base, or a full one. ``timeline`` is the one that it goes on with; None begins one."""
        settings, newest = self._settings, self._history.newest
        if ready.server.origin.encrypts and not (newest and newest.server.encrypts):
            note = _joined(note, _KEYS_APART)
        needed = max(0, ready.server.lsn - base.to_lsn) if base else ready.server.data_bytes
        resources.require_open_files(ready.server.tablespaces, "a backup")
        how = storage_choice.storing(settings, command.form)
        effort, how, short = resources.for_backup(
            storage_choice.effort(settings), how, resources.available_memory()
        )
        note = _joined(note, short)
        places = replace(
            self._places(ready.tool, storage_choice.programs_to_store(how)), client=str(ready.client)
        )
        space = storage_choice.expected_size(needed, how, base or newest)
        preflight.require_space(settings.backup_dir, space, "the backup", self._trash_advice)
        job = BackupJob(
            job_id=command.job_id,
            places=places,
            id=self._new_id(command.id),
            base=base.id if base else None,
            seq=self._history.next_seq(),
            schedule_id=command.schedule_id,
            timeline=timeline or command.job_id[:12],
            note=note,
            server=ready.server.origin,
            tool_version=ready.tool_version,
            expected_bytes=ready.server.data_bytes,
            base_form=base.form if base else FOLDER,
            storing=how,
            effort=effort,
            has_secrets=ready.server.has_secrets,
        )
        return _making(command, job, job.base, [], backup.in_words(job))

    def _synthetic(self, command: FullBackup) -> Plan:
        settings = self._settings
        tool, chain = preflight.ready_for_rollup(settings, self._history.newest, self._history.restored_seq)
        how = storage_choice.storing(settings, command.form)
        memory = resources.available_memory()
        effort, less = resources.for_restore(storage_choice.effort(settings), memory)
        _, how, fewer = resources.for_backup(replace(effort, parallel=1), how, memory)
        places = self._places(tool, storage_choice.programs_to_roll_up(settings, chain, how, tool))
        self._require_opened(chain, places)
        needed, newest = sum(link.restored_size for link in chain), chain[-1]
        if how.form != FOLDER:
            needed += storage_choice.expected_size(chain[0].restored_size, how, chain[0])
        preflight.require_space(settings.backup_dir, needed, "rolling the chain up", self._trash_advice)
        note = f"rolled up from {newest.id} and the chain below it"
        job = SyntheticJob(
            job_id=command.job_id,
            places=places,
            id=self._new_id(command.id),
            seq=self._history.next_seq(),
            schedule_id=command.schedule_id,
            chain=tuple(link.id for link in chain),
            note="; ".join(filter(None, (note, less, fewer))),
            storing=how,
            effort=effort,
        )
        return _making(command, job, None, synthesize.prepares(job))

    def _ready(self, newest: Manifest | None) -> preflight.Ready:
        return preflight.ready_for_backup(self._settings, newest, self._history.restored_seq)

    def _timeline(self, ready: preflight.Ready) -> str | None:
        """Return the timeline that a full backup goes on with, or None if it begins one."""
        newest = self._history.newest
        if newest is None or doubt(newest, ready.server, self._history.restored_seq):
            return None
        return newest.timeline

    def _require_opened(self, chain: list[Manifest], places: Places, identity: str | None = None) -> None:
        settings = self._settings
        require_opened(chain, settings.backup_dir, places.age, settings.encryption_identity_file, identity)

    def _trash_advice(self) -> str:
        trash = Trash(self._settings.backup_dir, self._settings.job_dir, self._history.journal)
        entries = trash.entries()
        if not entries:
            return ""
        until = minute(entries[0].purge_at(self._settings.trash_delay))
        return (
            f"; {size(trash.size())} more are in the trash until {until}; "
            f"root may remove them: rm -r {trash.folder}/*"
        )

    def _kept_advice(self) -> str:
        folders = [shlex.quote(str(kept.folder)) for kept in kept_in(self._settings.data_dir)]
        return (
            f"; what earlier restores replaced is kept; root may remove it: rm -r {' '.join(folders)}"
            if folders
            else ""
        )

    def _places(self, tool: Path | None, programs: dict[str, str] | None = None) -> Places:
        settings = self._settings
        return Places(
            engine_name=settings.db_type,
            tool=str(tool or ""),
            client=str(settings.client_bin or ""),
            credentials=str(settings.backup_credentials_file),
            backup_dir=str(settings.backup_dir),
            data_dir=str(settings.data_dir),
            restore_dir=str(self._restore_dir),
            job_dir=str(settings.job_dir),
            **(programs or {}),
        )

    def _new_id(self, wanted: str | None) -> str:
        if wanted is None:
            return _free_name(self._settings.backup_dir, datetime.now(UTC).strftime(_STAMP))
        if os.path.lexists(self._settings.backup_dir / wanted):
            raise Refused(409, f"the id {wanted} is taken")
        return wanted

    def _target(self, command: RestoreBackup) -> tuple[str, Path]:
        stamp = datetime.now(UTC).strftime(_STAMP)
        name, data_dir = f"{command.id}-restored-{stamp}", self._settings.data_dir
        if command.target == "database":
            return _free_name(data_dir, name, REPLACED), data_dir
        return self._aside(command.id)

    def _aside(self, backup_id: str) -> tuple[str, Path]:
        """Return a name, and a folder that is not there yet, for a backup that is brought back aside."""
        stamp = datetime.now(UTC).strftime(_STAMP)
        self._restore_dir.mkdir(mode=0o700, exist_ok=True)
        restore_id = _free_name(self._restore_dir, f"{backup_id}-restored-{stamp}")
        return restore_id, self._restore_dir / restore_id


def _making(
    command: FullBackup | IncrementalBackup,
    job: BackupJob | SyntheticJob,
    base: str | None,
    commands: list[list[str]],
    in_words: str = "",
) -> Plan:
    """Return the plan of a job that makes a backup on this base, or a full one."""
    what: dict[str, object] = {
        "id": job.id,
        "type": "incremental" if base else "full",
        "from_backup_id": base,
    }
    event: dict[str, object] = {
        "type": "backup",
        "seq": job.seq,
        "args": _told(command),
        "resource_id": job.id,
        "note": job.note,
        "backup": {**what, "schedule_id": job.schedule_id},
    }
    answer = _accepted(job_id=job.job_id, note=job.note, form=job.storing.form, **what)
    return Plan(job, commands, event, answer, in_words)


def _placed(then: Origin) -> str | None:
    """Return what comes back at another place than where the server had it, with what to type, or None."""
    told = []
    if then.links:
        told.append(f"a link comes back as what it led to, in the data directory itself: {_some(then.links)}")
    if then.elsewhere:
        told.append(
            f"the server kept files outside its data directory, all are in the folder now: {_some(then.elsewhere)}"
        )
    if any(name.endswith(LINK_FILE) for name in then.elsewhere):
        told.append(f"before a table of those is altered, build it anew: {REBUILD}")
    return _joined(*told)


def _some(places: dict[str, str]) -> str:
    whole_databases_first = sorted(places.items(), key=lambda place: ("/" in place[0], place[0]))
    named = [f"{name} ({path})" for name, path in whole_databases_first]
    more = f" and {len(named) - _TOLD_REASONS} more" if len(named) > _TOLD_REASONS else ""
    return ", ".join(named[:_TOLD_REASONS]) + more


def _readable(keys: list[str]) -> bool:
    """Tell whether there are options with keys, and user mysql can read the files that they name."""
    paths = [option.partition("=")[2].removeprefix("FILE:") for option in keys]
    return bool(keys) and all(os.access(path, os.R_OK) for path in paths if path.startswith("/"))


def _told(command: FullBackup | IncrementalBackup | RestoreBackup | VerifyBackup) -> dict[str, object]:
    """Return what was asked for, without what the programs say among themselves."""
    return {name: value for name, value in asdict(command).items() if name not in _NOT_TOLD}


def _joined(*sentences: str | None) -> str | None:
    """Return one note of those that there are."""
    return "; ".join(sentence for sentence in sentences if sentence) or None


def _free_name(folder: Path, name: str, before: str = "") -> str:
    """Return the name, or one like it, that nothing in the folder has with these letters before it."""
    number, free = 1, name
    while os.path.lexists(folder / (before + free)):
        number += 1
        free = f"{name}-{number}"
    return free


def _not_deleted(reasons: list[str]) -> str | None:
    """Return one sentence for a job's note: why backups that were to be deleted are not."""
    if not reasons:
        return None
    told = [
        reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]}..." for reason in reasons
    ]
    more = f"; and {len(told) - _TOLD_REASONS} more" if len(told) > _TOLD_REASONS else ""
    return f"not deleted: {'; '.join(told[:_TOLD_REASONS])}{more}"


def _accepted(**fields: object) -> Answer:
    return {"code": 202, "status": "accepted", **fields}
