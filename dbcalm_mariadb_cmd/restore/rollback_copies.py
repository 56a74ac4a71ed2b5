"""What restores have replaced: kept in the data directory for ``keep_replaced``, then removed."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from dbcalm_cmd.process import log
from dbcalm_mariadb_cmd.adapter.files import remove_tree, size_of
from dbcalm_mariadb_cmd.builder.layout import REMOVING, REPLACED
from dbcalm_mariadb_cmd.clock import moment, text_of
from dbcalm_mariadb_cmd.config.settings import Settings
from dbcalm_mariadb_cmd.errors import Refused, describe
from dbcalm_mariadb_cmd.restore.swap import Facts, read_facts
from dbcalm_mariadb_cmd.store.history import History


@dataclass(frozen=True)
class Kept:
    """One folder of replaced data."""

    folder: Path
    facts: Facts

    def keep_until(self, delay: timedelta) -> str | None:
        """When it may be removed; None for what was not put back after a failure, which nobody removes but root."""
        return text_of(moment(self.facts.replaced_at) + delay) if self.facts.succeeded else None

    def is_due(self, delay: timedelta, now: str) -> bool:
        """Tell whether it may be removed now."""
        until = self.keep_until(delay)
        return until is not None and until <= now


def kept_in(data_dir: Path) -> list[Kept]:
    """Return what is kept, the newest first."""
    found = [(folder, read_facts(folder)) for folder in _ours(data_dir, REPLACED)]
    kept = [Kept(folder, facts) for folder, facts in found if facts and folder.name == REPLACED + facts.id]
    return sorted(kept, key=lambda one: one.facts.replaced_at, reverse=True)


def told(settings: Settings) -> list[dict[str, object]]:
    """Return what is told of each."""
    return [
        {
            "id": kept.facts.id,
            "backup_id": kept.facts.backup_id,
            "replaced_at": kept.facts.replaced_at,
            "keep_until": kept.keep_until(settings.keep_replaced),
            "size": size_of(kept.folder),
        }
        for kept in kept_in(settings.data_dir)
    ]


def purge(settings: Settings, history: History, locked: Callable[[], AbstractContextManager[object]]) -> None:
    """Remove what was kept long enough, unless the clock is in doubt or a job holds the lock, and what an earlier
    removal has left. What is being removed is renamed first: nobody brings it back from then on."""
    now = history.journal.now()
    doubted = history.clock.doubt(now)
    if not doubted and any(kept.is_due(settings.keep_replaced, now) for kept in kept_in(settings.data_dir)):
        try:
            with locked():
                _condemn(settings, now)
        except Refused:
            pass  # A job runs; it may be the one that brings it back.
        except OSError as error:
            log("error", f"cannot remove what was replaced: {describe(error)}")
    for folder in _ours(settings.data_dir, REMOVING):
        try:
            remove_tree(folder)
        except OSError as error:
            log("error", f"cannot remove {folder}: {describe(error)}")


def _condemn(settings: Settings, now: str) -> None:
    for kept in kept_in(settings.data_dir):
        if kept.is_due(settings.keep_replaced, now):
            kept.folder.rename(kept.folder.with_name(REMOVING + kept.facts.id))


def _ours(data_dir: Path, beginning: str) -> list[Path]:
    try:
        return [path for path in data_dir.iterdir() if path.name.startswith(beginning)]
    except OSError:
        return []  # Its disk is not mounted, or it is just being made anew.
