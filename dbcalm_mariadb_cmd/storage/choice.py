"""What configuration, host and caller make of it together: how a backup is stored, with which programs, and how hard
the tool may work."""

import os
from collections.abc import Sequence
from pathlib import Path

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.builder.argv import ENGINES, Effort
from dbcalm_mariadb_cmd.builder.storage_format import FOLDER, PACKERS, Storing
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.store.manifest import Manifest

_AUTO = "auto"
_IO_CLASSES = {"normal": 0, "low": 2, "idle": 3}
_MOST_PARALLEL = 4
_GUESSED_RATIO = 0.5
_MARGIN = 1.2


def storing(settings: Settings, form: str | None) -> Storing:
    """Return how a backup is to be stored that was asked for in this form, None for the configured one; raise Refused
    409 for a folder where backups are to be encrypted: no caller shall get one that is not."""
    wanted, keys = form or settings.stored_form, settings.encryption_recipients
    if wanted == _AUTO:
        wanted = "zstd" if _is_here("zstd") else "gzip" if keys else FOLDER
    if keys and wanted == FOLDER:
        raise Refused(
            409, "a folder is not encrypted, and encryption_recipients has keys: choose zstd or gzip"
        )
    return Storing(wanted, settings.compression_level, settings.compression_threads, keys)


def programs_to_store(how: Storing) -> dict[str, str]:
    """Return the paths of the programs that this takes, by their names in Places; raise Refused 503 if one is not
    installed."""
    if how.form == FOLDER:
        return {}
    found = {how.form: str(tool.find(None, (PACKERS[how.form].program,)))}
    return {**found, **_age(how.recipients)}


def programs_to_restore(settings: Settings, chain: list[Manifest], backup_tool: Path) -> dict[str, str]:
    """Return the same for what brings these backups back."""
    streams = [link for link in chain if link.form != FOLDER]
    if not streams:
        return {}
    found = {link.form: str(tool.find(None, (PACKERS[link.form].program,))) for link in streams}
    sealed = [key for link in streams for key in link.recipients]
    return {
        **found,
        **_unstream(settings, backup_tool),
        **_age(sealed),
        "identity": str(settings.encryption_identity_file or ""),
    }


def programs_to_roll_up(
    settings: Settings, chain: list[Manifest], how: Storing, backup_tool: Path
) -> dict[str, str]:
    """Return the same for what brings these backups back and stores them again like this."""
    found = {**programs_to_restore(settings, chain, backup_tool), **programs_to_store(how)}
    return found if how.form == FOLDER else {**found, **_unstream(settings, backup_tool)}


def _unstream(settings: Settings, backup_tool: Path) -> dict[str, str]:
    return {"unstream": str(beside(backup_tool, ENGINES[settings.db_type].unstreamers))}


def _age(keys: Sequence[str]) -> dict[str, str]:
    return {"age": str(tool.find(None, ("age",)))} if keys else {}


def effort(settings: Settings) -> Effort:
    """Return how hard the tool may work, as far as it is configured, and no harder than the host can bear."""
    return Effort(
        parallel=settings.parallel or min(len(os.sched_getaffinity(0)), _MOST_PARALLEL),
        prepare_memory=min(settings.prepare_memory, _physical_memory() // 4),
        throttle=settings.copy_throttle,
        niceness=settings.cpu_niceness,
        io_class=_IO_CLASSES[settings.io_priority],
    )


def expected_size(data_bytes: int, how: Storing, newest: Manifest | None) -> int:
    """Return about how many bytes a backup of this much data takes as it is stored: as the newest one did, with some
    more to spare, or half where there is none of that form to go by."""
    if how.form == FOLDER:
        return data_bytes
    if newest is None or newest.form != how.form or not newest.data_size:
        return int(data_bytes * _GUESSED_RATIO)
    return int(data_bytes * min(1.0, newest.size / newest.data_size * _MARGIN))


def _is_here(program: str) -> bool:
    try:
        tool.find(None, (program,))
    except Refused:
        return False
    return True


def beside(backup_tool: Path, names: tuple[str, ...]) -> Path:
    """Return the program that came with the backup tool, wherever that is, or else the first that is found; raise
    Refused 503 if there is none."""
    for name in names:
        if os.access(own := backup_tool.parent / name, os.X_OK):
            return own
    return tool.find(None, names)


def _physical_memory() -> int:
    """Return the host's memory in bytes. What of it is free cannot be seen from inside the unit."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
