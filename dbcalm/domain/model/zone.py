"""The host's time zone, by which cron reads the times of its lines."""

from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

LOCALTIME = Path("/etc/localtime")

_FOLDER = "zoneinfo/"


@dataclass(frozen=True)
class Zone:
    """A time zone and what it is called."""

    name: str
    rules: tzinfo


class HostZone:
    """Knows the zone of ``/etc/localtime``, or of another file of its kind, as it is when it is asked for."""

    def __init__(self, path: Path = LOCALTIME) -> None:
        self._path = path
        self._known: tuple[object, Zone] | None = None

    def __call__(self) -> Zone:
        """Return the zone: UTC where the file is missing or no time zone, as the C library takes it."""
        try:
            status = self._path.stat()
            state = (_linked(self._path), status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            if self._known is None or self._known[0] != state:
                self._known = (state, _read(self._path))
            return self._known[1]
        except (OSError, ValueError):
            return Zone("UTC", UTC)


def _linked(path: Path) -> str:
    return str(path.readlink()) if path.is_symlink() else ""


def _read(path: Path) -> Zone:
    """Return the zone that a file describes; raise ValueError if it describes none."""
    ends = (_linked(path), str(path.resolve()))
    called = next((end.rpartition(_FOLDER)[2] for end in ends if _FOLDER in end), "localtime")
    with path.open("rb") as file:
        return Zone(called, ZoneInfo.from_file(file, key=called))
