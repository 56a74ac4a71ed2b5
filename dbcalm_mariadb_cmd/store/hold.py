"""Holds: a backup is kept from being deleted, with its whole chain, until a time or for good.

A hold is a small file beside the backup's manifest, so that it goes wherever the folder goes and needs no catalogue.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from dbcalm_mariadb_cmd.adapter.files import sync_folder, write_synced
from dbcalm_mariadb_cmd.adapter.small_files import read_small
from dbcalm_mariadb_cmd.command.requests import LONGEST_REASON
from dbcalm_mariadb_cmd.command.shapes import Time, Unfit, Upto, fitted, parsed
from dbcalm_mariadb_cmd.store.manifest import HOLD


@dataclass(frozen=True)
class Hold:
    """Why, until when (None: for good) and since when a backup is held. Times are UTC text, whose order is theirs."""

    reason: Annotated[str, Upto(LONGEST_REASON)]
    until: Time | None
    since: Annotated[str, Upto(LONGEST_REASON)]

    def told(self) -> dict[str, object]:
        """Return what others are told of it."""
        return {"reason": self.reason, "until": self.until}

    def is_over(self, now: str) -> bool:
        """Tell whether its end has passed."""
        return self.until is not None and self.until <= now


def stored_hold(folder: Path) -> Hold | None:
    """Return the hold of the backup in this folder, also one that is over. One that cannot be read holds for good:
    somebody wanted this backup kept."""
    try:
        return fitted(Hold, parsed(read_small(folder / HOLD)))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, Unfit):
        return Hold(f"{HOLD} cannot be read", None, "")


def hold_of(folder: Path, now: str) -> Hold | None:
    """Return the hold that is in force."""
    hold = stored_hold(folder)
    return None if hold is None or hold.is_over(now) else hold


def store_hold(folder: Path, hold: Hold | None) -> None:
    """Store a hold, or remove the one that is there, whole or not at all, also across a power cut; raise OSError."""
    if hold is None:
        (folder / HOLD).unlink(missing_ok=True)
        sync_folder(folder)
    else:
        write_synced(folder / HOLD, json.dumps(asdict(hold)))
