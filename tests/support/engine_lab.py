"""A whole installation of the engine in one folder: real files, real locks, real processes, and a backup tool that
needs no server (``engine_tool``)."""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from dbcalm_cmd.process import Answer
from dbcalm_mariadb_cmd.adapter.tool import Output
from dbcalm_mariadb_cmd.backup import take as backup
from dbcalm_mariadb_cmd.builder.argv import backup_argv
from dbcalm_mariadb_cmd.builder.layout import Places
from dbcalm_mariadb_cmd.builder.storage_format import AS_FOLDER, FOLDER, Storing
from dbcalm_mariadb_cmd.command.origin import Origin
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.jobs.order import BackupJob, Job, RestoreJob, open_lock, write_order
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.store.journal import Event, Journal
from dbcalm_mariadb_cmd.store.manifest import MANIFEST, Manifest, read_manifest, sealed, unsealed
from dbcalm_mariadb_cmd.supervisor import runner
from dbcalm_mariadb_cmd.supervisor.control import JobControl, Plan
from tests.support.patience import eventually

CHECKOUT = Path(__file__).parents[2]
CANNOT_CONNECT = "ERROR 2002 (HY000): Can't connect to local server through socket '/run/s.sock' (2)"

ORIGIN = Origin(
    version="10.11.19", data_dir="/var/lib/mysql", ibdata=(11, 1_700_000_000), server_uuid="", elsewhere={}
)


def program(path: Path, source: str) -> Path:
    """Write a Python program that can be started by its path."""
    path.write_text(f"#!{sys.executable} -IS\n{source}")
    path.chmod(0o755)
    return path


def shell(path: Path, source: str) -> Path:
    """Write a shell script that can be started by its path."""
    path.write_text(f"#!/bin/sh\n{source}\n")
    path.chmod(0o755)
    return path


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return every file below a folder with its bytes, every folder with None."""
    paths = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else None for name, path in paths.items()}


def wait_until(holds: Callable[[], object], what: str = "it") -> None:
    """Return as soon as this holds; fail if it never does."""
    eventually(holds, what)


class Lab:
    """The installation. ``server`` is the data directory that the tool copies, ``data`` the one restored into. Whatever
    a test starts ends when ``at_end`` is closed."""

    def __init__(self, root: Path) -> None:
        self.at_end = ExitStack()
        self.root = root
        self.server = root / "server"
        self.data = root / "data"
        self.backups = root / "backups"
        self.restores = self.backups / "restores"
        self.jobs = root / "jobs"
        for folder in (
            self.data, self.restores, self.backups / ".work", self.backups / ".trash", self.jobs / "jobs",
            root / "moments",
        ):  # fmt: skip
            folder.mkdir(parents=True)
        self.credentials = root / "credentials.cnf"
        self.credentials.write_text("[client-dbcalm]\nuser=backup\npassword=secret\n")
        self.tool = program(root / "mariadb-backup", Path(__file__).with_name("engine_tool.py").read_text())
        self.places = Places(
            engine_name="mariadb",
            tool=str(self.tool),
            client=str(self.root / "mariadb"),
            credentials=str(self.credentials),
            backup_dir=str(self.backups),
            data_dir=str(self.data),
            restore_dir=str(self.restores),
            job_dir=str(self.jobs),
            **{name: str(shutil.which(name)) for name in ("zstd", "gzip", "age")},
            unstream=str(shutil.which("mbstream")),
        )
        self.seq = 0
        self.fill(
            {"ibdata1": "system", "ib_logfile0": "redo", "mysql/user.ibd": "root", "shop/orders.ibd": "1 2 3"}
        )
        (self.server / "empty").mkdir()

    @property
    def settings(self) -> Settings:
        """The service's settings for this installation; there is no server, so no client is needed."""
        return Settings(
            db_type="mariadb",
            backup_dir=self.backups,
            data_dir=self.data,
            backup_bin=self.tool,
            client_bin=self.root / "mariadb",
            backup_credentials_file=self.credentials,
            restore_dir=None,
            job_dir=self.jobs,
            stored_form="folder",
            compression_level=1,
            compression_threads=0,
            encryption_recipients=(),
            encryption_identity_file=None,
            parallel=1,
            copy_throttle=0,
            cpu_niceness=0,
            io_priority="normal",
            prepare_memory=0,
            verify_assertions=(),
            min_full_chains=1,
            min_age=timedelta(0),
            trash_delay=timedelta(hours=24),
            keep_replaced=timedelta(hours=24),
            warm_restore=False,
            max_chain_length=0,
            full_every=timedelta(0),
            mariadb_cmd_socket=self.root / "socket",
            dbcalm_user="nobody",
        )

    def fill(self, files: dict[str, str]) -> None:
        """Write files of the server, and let its log sequence number grow."""
        for name, text in files.items():
            path = self.server / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        lsn = self.server / ".lsn"
        lsn.write_text(str(int(lsn.read_text()) + 1000 if lsn.exists() else 1000))

    def at(self, moment: str, code: str) -> None:
        """Let the tool run this code at a moment; "" undoes it."""
        (self.root / "moments" / f"{moment}.py").write_text(code)

    def calls(self) -> list[list[str]]:
        """Return the arguments of every call of the tool so far."""
        return [json.loads(line) for line in (self.root / "calls").read_text().splitlines()]

    def backup_job(self, backup_id: str, base: str | None = None, storing: Storing = AS_FOLDER) -> BackupJob:
        """Return an order for a backup that can be accepted or run."""
        self.seq += 1
        return BackupJob(
            job_id=uuid.uuid4().hex,
            places=self.places,
            id=backup_id,
            base=base,
            seq=self.seq,
            schedule_id=None,
            timeline="t",
            note=None,
            server=ORIGIN,
            tool_version="10.11.19",
            expected_bytes=0,
            base_form=read_manifest(self.backups / base).form
            if base and (self.backups / base).exists()
            else FOLDER,
            storing=storing,
        )

    def restore_job(self, chain: tuple[str, ...], target: str = "database") -> RestoreJob:
        """Return an order for a restore that can be accepted or run."""
        self.seq += 1
        return RestoreJob(
            job_id=uuid.uuid4().hex,
            places=self.places,
            restore_id="brought-back",
            seq=self.seq,
            chain=chain,
            target=target,
            target_path=str(self.data if target == "database" else self.restores / "brought-back"),
        )

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Hold the lock."""
        lock = open_lock(self.jobs)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield lock
        finally:
            os.close(lock)

    def back_up(self, backup_id: str, base: str | None = None, storing: Storing = AS_FOLDER) -> Manifest:
        """Make a backup in this process."""
        job = self.backup_job(backup_id, base, storing)
        write_order(job)
        with self.locked() as lock, output(self, job) as log:
            return backup.make(job, log, lock)

    def bring_back(self, job: RestoreJob) -> None:
        """Restore in this process."""
        write_order(job)
        with self.locked() as lock, output(self, job) as log:
            restore.bring_back(job, log, lock)

    def chain(self) -> tuple[str, str, str]:
        """Make a full backup and two incrementals, and change the server in between."""
        self.back_up("full")
        self.fill({"shop/orders.ibd": "1 2 3 4", "shop/new.ibd": "n"})
        self.back_up("inc1", "full")
        self.fill({"shop/orders.ibd": "5", "later/x.ibd": "x"})
        (self.server / "mysql/user.ibd").unlink()
        self.back_up("inc2", "inc1")
        return "full", "inc1", "inc2"

    def plan(self, job: Job) -> Plan:
        """Return what the service would make of a job's order."""
        answer: Answer = {"code": 202, "status": "accepted", "job_id": job.job_id}
        kind = "backup" if isinstance(job, BackupJob) else "restore"
        event: dict[str, object] = {"type": kind, "seq": job.seq}
        if isinstance(job, RestoreJob):
            event["breaks_timeline"] = job.target == "database"
        argv = backup_argv(self.tool, self.credentials, self.backups / "x", None)
        return Plan(job, [argv], event, answer)

    def accept(self, control: JobControl, job: Job) -> Answer:
        """Hand a job to the control."""
        return control.accept(job.job_id, lambda: self.plan(job))

    def run_here(self, job: Job) -> None:
        """Do a job whose order is written as its runner does, in this process."""
        mask, lock = os.umask(0o027), open_lock(self.jobs)
        try:
            runner.main(self.places.job(job.job_id), lock)
        finally:
            os.close(lock)
            os.umask(mask)

    def rewrite(self, backup_id: str, **changes: object) -> None:
        """Change facts of a manifest on disk."""
        path = self.backups / backup_id / MANIFEST
        path.write_bytes(sealed({**unsealed(path.read_bytes()), **changes}))

    def is_free(self) -> bool:
        """Tell whether nobody holds the lock."""
        try:
            with self.locked():
                return True
        except BlockingIOError:
            return False

    def end_of(self, job_id: str) -> Event:
        """Wait for a job's end and return the event."""
        found: list[Event] = []

        def ended() -> bool:
            events = Journal(self.jobs / "journal").all()
            found.extend(
                event for event in events if (event["event"], event.get("job_id")) == ("ended", job_id)
            )
            return bool(found)

        wait_until(ended, "the job's end")
        wait_until(self.is_free, "the runner's end")
        return found[0]


_CLIENT = """
import json, sys
told, fails, closed = json.loads({facts!r})
if closed:
    sys.exit(closed)
for number, line in enumerate(sys.stdin, start=1):
    statement = line.strip().rstrip(";")
    failed = next((fails[begin] for begin in fails if statement.startswith(begin)), None)
    if failed:
        code, _, said = failed.partition(" ")
        dashes = "--------------"
        sys.stderr.write(f"{{dashes}}\\n{{statement}}\\n{{dashes}}\\n\\n")
        sys.stderr.write(f"ERROR {{code}} (HY000) at line {{number}}: {{said}}\\n")
        continue
    if statement.startswith("SELECT '#"):
        sys.stdout.write(statement.split("'")[1] + "\\n")
    sys.stdout.write(next((told[begin] for begin in told if statement.startswith(begin)), ""))
"""


class Client:
    """The database's client as a program that gives these answers; ``server`` of the lab is its data directory.

    ``errors`` is what it ends with before it asks anything; ``fails`` what a statement that begins so fails with."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.rows: dict[str, str] = {
            "version": "10.11.19-MariaDB-log",
            "version_comment": "Debian 12",
            "datadir": f"{lab.server}/",
            "log_bin": "ON",
            "innodb_data_home_dir": "",
            "innodb_data_file_path": "ibdata1:12M:autoextend",
            "innodb_log_group_home_dir": "./",
            "innodb_undo_directory": "./",
        }
        self.status = {"Innodb_lsn_current": "9000"}
        self.account = "backup@localhost"
        self.gtid = "NULL"
        self.binlogs = "bin.000003\t700\nbin.000004\t100\n"
        self.limit = "18446744073709551615"
        self.myrocks = "0"
        self.grants = "GRANT RELOAD, PROCESS ON *.* TO `backup`@`localhost`\n"
        self.errors = ""
        self.fails: dict[str, str] = {}

    def settings(self) -> Settings:
        """Return settings with which this client is asked."""
        lines = {
            "SHOW VARIABLES": _rows(self.rows),
            "SHOW GLOBAL VARIABLES": _rows({"datadir": self.rows["datadir"]}),
            "SHOW GLOBAL STATUS": _rows({"Uptime": "10", **self.status}),
            "SELECT CURRENT_USER()": f"{self.account}\n",
            "SELECT @@GLOBAL.sql_select_limit": f"{self.limit}\n",
            "SELECT COUNT(*) FROM information_schema.plugins": f"{self.myrocks}\n",
            "SHOW GRANTS": self.grants,
            "SELECT BINLOG_GTID_POS": f"{self.gtid}\n",
            "SELECT NULL": "NULL\n",
            "SHOW BINARY LOGS": self.binlogs,
        }
        source = _CLIENT.format(facts=json.dumps([lines, self.fails, self.errors]))
        program(self.lab.root / "mariadb", source)
        return replace(self.lab.settings, data_dir=self.lab.server)


def _rows(pairs: dict[str, str]) -> str:
    return "".join(f"{name}\t{value}\n" for name, value in pairs.items())


@contextmanager
def server_in(folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that is called mariadbd and works in this folder."""
    path = program(
        folder.parent / "mariadbd",
        "import time, sys; sys.stdout.write('up'); sys.stdout.flush(); time.sleep(3000)",
    )
    with subprocess.Popen([str(path), *words], cwd=folder, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.read(2)
            yield process
        finally:
            process.kill()


@contextmanager
def output(lab: Lab, job: Job) -> Iterator[Output]:
    """Collect what the tool writes into the job's folder."""
    log = Output(lab.places.job(job.job_id) / "output.log")
    try:
        yield log
    finally:
        log.finish()


def manifest(**changes: object) -> Manifest:
    """Return a manifest with these facts and some others."""
    plain = Manifest(
        id="base", type="full", from_backup_id=None, seq=5, job_id="0" * 32, schedule_id=None, timeline="t",
        note=None, start_time="2026-11-23T03:00:00.000000Z", end_time="2026-11-23T03:00:01.000000Z", size=1,
        file_count=1, files_sha256="", engine="mariadb", tool_version="10.11.19", server=ORIGIN, from_lsn=0,
        to_lsn=5000, last_lsn=5000, binlog=None,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]
