"""Timelines: has somebody put other data under the server since a backup was made?

After a restore into the data directory, by DBCalm or by hand, an incremental backup on an older base "succeeds", every
prepare says "completed OK!", and the data is silently wrong. The tool compares nothing but a log sequence number, and
the new history's numbers soon outrun the old one's. So before an incremental, all that can be compared is compared, and
on any doubt a full backup is made instead.

None of this changes by a restart, a crash recovery or an upgrade within one release series.
"""

from collections.abc import Callable, Mapping

from dbcalm_mariadb_cmd.adapter.server.facts import ServerFacts
from dbcalm_mariadb_cmd.builder.argv import Binlog
from dbcalm_mariadb_cmd.store.manifest import Manifest


def doubt(base: Manifest, now: ServerFacts, restored_seq: int) -> str | None:
    """Return why the running server may not have the history that the base belongs to, or None if nothing says so.

    ``restored_seq`` is the number of our last restore into the data directory, in the order that backups share.
    """
    if restored_seq > base.seq:
        return f"a backup was restored into the data directory after {base.id} was made"
    checks: tuple[Callable[[Manifest, ServerFacts], str | None], ...] = (_identity, _series, _lsn, _binlog)
    return next((reason for check in checks if (reason := check(base, now))), None)


def changed(then: Mapping[str, str], now: Mapping[str, str], full_id: str) -> str | None:
    """Return which settings of the server are others than they were when the full backup of a chain was made, None if
    none is. The whole chain is prepared with those of its full backup, and cannot be where they do not fit. What is not
    known of both is not compared."""
    others = [
        f"{name} was {_said(then[name])} when {full_id} was made and is {_said(now[name])}"
        for name in sorted(then.keys() & now.keys())
        if then[name] != now[name]
    ]
    return "; ".join(others) or None


def _said(value: str) -> str:
    return value or "empty"


def series(version: str) -> str:
    """Return the release series of a version: "10.11" of "10.11.19"."""
    return ".".join(version.split(".")[:2])


def _identity(base: Manifest, now: ServerFacts) -> str | None:
    then, present = base.server, now.origin
    if then.data_dir != present.data_dir:
        return f"the server's data directory is {present.data_dir} and was {then.data_dir}"
    if then.ibdata != present.ibdata:
        return f"the data directory was replaced after {base.id} was made: InnoDB's first file is another one"
    if then.server_uuid != present.server_uuid:
        return f"the server has another server_uuid than when {base.id} was made"
    return None


def _series(base: Manifest, now: ServerFacts) -> str | None:
    then, present = base.server.version, now.origin.version
    if series(then) != series(present):
        return f"the server was upgraded from {then} to {present}"
    return None


def _lsn(base: Manifest, now: ServerFacts) -> str | None:
    if now.lsn < base.last_lsn:
        return (
            f"the server's log sequence number {now.lsn} is lower than {base.last_lsn}, where {base.id} ends"
        )
    return None


def _binlog(base: Manifest, now: ServerFacts) -> str | None:
    """Compare the binary log: at the base's position it must still say what it said then, unless it was purged."""
    then = base.binlog
    if then is None or now.binlogs is None:
        return None
    if then.file in now.binlogs:
        told = _gtids(now.gtid_at_base or "")
        if now.binlogs[then.file] < then.position or (then.gtid and not told <= _gtids(then.gtid)):
            return f"the binary log {then.file} has another history than when {base.id} was made"
        return None
    if all(_number(file) > _number(then.file) for file in now.binlogs):
        return None
    return f"the binary log began anew after {base.id} was made"


def _gtids(text: str) -> set[str]:
    """Return the GTIDs of a position, one a domain. The server and the tool list them in different orders, and the tool
    adds those that a replica has applied and not logged."""
    return set(filter(None, text.split(",")))


def _number(file: str) -> int:
    digits = file.rpartition(".")[2]
    return int(digits) if digits.isdecimal() else 0


def comparable(binlog: Binlog | None) -> Binlog | None:
    """Return the position if its file name may stand in a statement, else None."""
    plain = binlog is not None and all(letter.isalnum() or letter in "._-" for letter in binlog.file)
    return binlog if plain else None
