"""The mysql service's settings: the keys of ``config.yml`` that it reads, and no others."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dbcalm_mariadb_cmd.config.assertions import Assertion


@dataclass(frozen=True)
class Settings:
    """Where and with what jobs are done. The keys are described in ``config_keys``."""

    db_type: str
    backup_dir: Path
    data_dir: Path
    backup_bin: Path | None
    client_bin: Path | None
    backup_credentials_file: Path
    restore_dir: Path | None
    job_dir: Path
    stored_form: str
    compression_level: int
    compression_threads: int
    encryption_recipients: tuple[str, ...]
    encryption_identity_file: Path | None
    parallel: int
    copy_throttle: int
    cpu_niceness: int
    io_priority: str
    prepare_memory: int
    verify_assertions: tuple[Assertion, ...]
    min_full_chains: int
    min_age: timedelta
    trash_delay: timedelta
    keep_replaced: timedelta
    warm_restore: bool
    max_chain_length: int
    full_every: timedelta
    mariadb_cmd_socket: Path
    dbcalm_user: str
