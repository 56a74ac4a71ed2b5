"""What a restore does to the backup tool's own account: it comes back as it was, with an older password or none at all,
while the credentials file stays as it is. No backup can be made then until ``dbcalm setup`` has put that right.
"""

from pathlib import Path

from dbcalm_mariadb_cmd.adapter import tool
from dbcalm_mariadb_cmd.adapter.server import facts
from dbcalm_mariadb_cmd.adapter.server.refusals import LOGIN, SETUP
from dbcalm_mariadb_cmd.builder.layout import Places
from dbcalm_mariadb_cmd.clock import moment
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.store.manifest import Manifest

_MENDED_HERE = (LOGIN, "grants")


def foreseen(credentials: Path, newest: Manifest) -> str | None:
    """Return what to expect where the credentials file was written to since this backup was made, with which the
    account was let in then; None where it was not."""
    if credentials.stat().st_mtime <= moment(newest.start_time).timestamp():
        return None
    return (
        f"{credentials} was changed after {newest.id} was made: if the server then refuses the backup user, whose "
        f"password is an older one, {SETUP}"
    )


def after_restore(refused: Refused) -> Refused:
    """Return the refusal of a backup that comes after a restore into the data directory, with what that has to do with
    it."""
    if refused.data.get("cause") not in _MENDED_HERE:
        return refused
    return Refused(refused.code, f"{_came_back(refused)}: {SETUP}; {refused}", **refused.data)


def found(places: Places) -> str | None:
    """Ask the server that runs with what was restored for all that a backup needs; return what is wrong with the
    account, None if nothing is."""
    credentials = Path(places.credentials)
    try:
        facts.require_credentials(credentials)
        client = tool.find(Path(places.client) if places.client else None, places.engine.clients)
        facts.read_facts(places.engine, client, credentials, None, Path(places.data_dir))
    except Refused as refused:
        if refused.data.get("cause") in _MENDED_HERE:
            return f"no backup can be made before this is put right: {after_restore(refused)}"
    return None


def _came_back(refused: Refused) -> str:
    if refused.data.get("cause") == LOGIN:
        return (
            "the restore brought back the database's accounts, and that of the backup user is missing or has an older "
            "password"
        )
    return "the restore brought back the database's accounts, and that of the backup user may do less"
