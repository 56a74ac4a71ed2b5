"""Where what lies: the folders of an installation, and the names of ours in the data directory."""

from dataclasses import dataclass
from pathlib import Path

from dbcalm_mariadb_cmd.builder.argv import ENGINES, Engine

OURS_IN_DATA_DIR = "#sql-dbcalm-"
"""Begins the names of our folders in the data directory. Any other folder would be a schema to the server: shown, and
dumped or checked in vain. What begins with #sql it takes for a temporary table of its own and leaves out, and so does
mariadb-backup (seen with MariaDB 10.11)."""

LOST_AND_FOUND = "lost+found"
"""A folder of root's in a data directory that is a mount point. No database has such a folder: the server writes a "+"
in a database's name as @002b. It is never copied, never moved, and never in the way."""

REPLACED = f"{OURS_IN_DATA_DIR}replaced-"
"""Begins the names of the folders with what a restore replaced."""

REMOVING = f"{OURS_IN_DATA_DIR}removing-"
"""Begins the names of the folders that are removed at the next look."""


@dataclass(frozen=True)
class Places:
    """Where a job finds what it works with. All are absolute paths; a program that no form in question needs is "".

    ``unstream`` unpacks the tool's stream. ``identity`` is a file with age's private keys."""

    engine_name: str
    tool: str
    client: str
    credentials: str
    backup_dir: str
    data_dir: str
    restore_dir: str
    job_dir: str
    zstd: str = ""
    gzip: str = ""
    age: str = ""
    unstream: str = ""
    identity: str = ""

    @property
    def engine(self) -> Engine:
        """The profile of the tool and the server."""
        return ENGINES[self.engine_name]

    @property
    def working(self) -> Path:
        """Where backups are made before they get their name."""
        return Path(self.backup_dir, ".work")

    @property
    def trash(self) -> Path:
        """Where backups go before they are removed."""
        return Path(self.backup_dir, ".trash")

    def program(self, name: str) -> str:
        """Return the path of a packer."""
        return {"zstd": self.zstd, "gzip": self.gzip}[name]

    def backup(self, backup_id: str) -> Path:
        """Return the folder of a whole backup."""
        return Path(self.backup_dir, backup_id)

    def job(self, job_id: str) -> Path:
        """Return the folder with a job's order, log and progress."""
        return Path(self.job_dir, "jobs", job_id)
