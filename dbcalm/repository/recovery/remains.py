"""What damaged catalogues left behind, and what is wrong with the copies, as the status tells it."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dbcalm.domain.model import times
from dbcalm.logger import log
from dbcalm.repository.engine import Database
from dbcalm.repository.recovery.copies import Copies

_ASIDE = ".damaged-"
_NOTE = ".txt"
_LONGEST_WITHOUT_COPY = timedelta(hours=50)


class Remains:
    """What lies beside one catalogue."""

    def __init__(self, database: Database) -> None:
        self._path = database.path
        self._is_sealed = database.is_sealed

    def keep_copied(self, stop: threading.Event) -> None:
        """Make a copy of the whole file each day, until told to stop."""
        Copies(self._path).keep(stop)

    def paths(self) -> list[str]:
        """Return the paths of damaged catalogues in whose place a new one was begun, as long as they are there."""
        return [str(path) for path in self._aside() if path.suffix != _NOTE]

    def problems(self) -> list[str]:
        """Return a sentence for each time that users, clients and schedules had to be brought back, until somebody
        removes what was kept of it, and one for each copy that is missing or old."""
        aside = self._aside()
        noted = [path for path in aside if path.suffix == _NOTE]
        told = [path.read_text(encoding="utf-8") for path in noted]
        old = [
            path for path in aside if path.suffix != _NOTE and path.with_name(path.name + _NOTE) not in noted
        ]
        told += [
            _sentence("the catalogue was damaged and begun anew: see that nothing is missing", path)
            for path in old
        ]
        copied = Copies(self._path).made_last()
        if copied is not None and datetime.now(UTC) - copied > _LONGEST_WITHOUT_COPY:
            told.append(
                f"the catalogue was not copied since {times.short(times.written(copied))}, as it is each day while it "
                "is whole: see the log of dbcalm-api"
            )
        if not self._is_sealed():
            told.append(
                "the copy from which a damaged catalogue gets its users, clients and schedules back is missing or out "
                "of date: restart dbcalm-api, and see its log"
            )
        return told

    def _aside(self) -> list[Path]:
        found = self._path.parent.glob(f"{self._path.name}{_ASIDE}*")
        return sorted(path for path in found if not path.name.endswith(("-wal", "-shm")))


def free_name(path: Path) -> Path:
    """Return a name beside the catalogue for one that was damaged just now."""
    moment = datetime.now(UTC)
    while True:
        aside = path.with_name(f"{path.name}{_ASIDE}{moment:%Y%m%d-%H%M%S}")
        if not aside.exists() and not aside.with_name(aside.name + _NOTE).exists():
            return aside
        moment += timedelta(seconds=1)


def note(aside: Path, what: str) -> None:
    """Keep for the status what was brought back; say it in the log as well."""
    sentence = _sentence(what, aside)
    log.critical("%s", sentence)
    file = aside.with_name(aside.name + _NOTE)
    try:
        file.touch(0o600)
        file.write_text(sentence, encoding="utf-8")
    except OSError as error:
        log.error("cannot write %s%s: %s", aside, _NOTE, error.strerror)


def _sentence(what: str, aside: Path) -> str:
    return f"{what}; then remove what is kept of it with: rm {aside}*"
