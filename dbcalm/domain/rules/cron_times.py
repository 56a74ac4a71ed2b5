"""When cron starts a line: the moments that its five time fields name, in the host's time zone.

Debian's cron treats two kinds of lines differently when the clock is set forward or back by less than three hours, as
at daylight saving (``man cron``; cron.c keeps a virtual clock for it):

- one with a fixed time, neither minute nor hour beginning with ``*``: a time that the clock skips is made up for at
  once, and one that comes twice runs the first time only;
- any other goes by the clock as it stands: what is skipped is left out, what comes twice runs twice.

cronsim finds the times on a wall clock that is never set. Left to apply the zone itself it is wrong here: seen from a
repeated hour it names a moment that is past, and where the clock moves by half an hour it loses the runs after that.
So what a wall clock shows is turned into moments here.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim

from dbcalm.domain.rules.turns import start_of, turn_of

_SECOND = timedelta(seconds=1)
_LONGEST_REPEAT = timedelta(hours=3)


def next_due(times: str, zone: tzinfo, after: datetime, every: int | None = None) -> datetime:
    """Return the first moment after this one at which a schedule runs, in UTC: cron starts its line, of these time
    fields, and with ``every`` that is the first start in a turn of so many minutes."""
    if every is None:
        return _next_start(times, zone, after)
    turn = turn_of(after.timestamp(), every)
    here = _first_of(turn, times, zone, every)
    return here if here > after else _first_of(turn + 1, times, zone, every)


def last_due(times: str, zone: tzinfo, until: datetime, every: int | None = None) -> datetime:
    """Return the last moment, this one included, at which a schedule runs, in UTC; as ``next_due``."""
    if every is None:
        return _last_start(times, zone, until)
    turn = turn_of(until.timestamp(), every)
    here = _first_of(turn, times, zone, every)
    return here if here <= until else _first_of(turn - 1, times, zone, every)


def _first_of(turn: int, times: str, zone: tzinfo, every: int) -> datetime:
    begin = datetime.fromtimestamp(start_of(turn, every), UTC)
    return _next_start(times, zone, begin - _SECOND)


def _next_start(times: str, zone: tzinfo, after: datetime) -> datetime:
    after = after.replace(microsecond=0)  # Lines start at full minutes.
    if _is_fixed(times):
        walls = _walls(times, _wall(after, zone))
        return next(moment for wall in walls if (moment := _start(wall, zone)) > after)
    offset = _offset(after, zone)
    wall = _naive(after) + offset
    while True:
        moment = _utc(next(_walls(times, wall)), offset)
        if _offset(moment, zone) == offset:
            return moment
        change = _change(zone, after, moment)
        after, offset = change, _offset(change, zone)
        wall = _naive(change) + offset - _SECOND  # The very moment of the change may be one.


def _last_start(times: str, zone: tzinfo, until: datetime) -> datetime:
    until = until.replace(microsecond=0)
    if _is_fixed(times):
        # While an hour repeats, what the clock will show again has run already.
        walls = _walls(times, _wall(until, zone) + _LONGEST_REPEAT, back=True)
        return next(moment for wall in walls if (moment := _start(wall, zone)) <= until)
    offset = _offset(until, zone)
    wall = _naive(until) + offset + _SECOND
    while True:
        moment = _utc(next(_walls(times, wall, back=True)), offset)
        if _offset(moment, zone) == offset:
            return moment
        until = _change(zone, moment, until)
        offset = _offset(until - _SECOND, zone)
        wall = _naive(until) + offset


def _is_fixed(times: str) -> bool:
    minute, hour, *_days = times.split()
    return not minute.startswith("*") and not hour.startswith("*")


def _walls(times: str, start: datetime, *, back: bool = False) -> Iterator[datetime]:
    """Yield what a wall clock shows at each time after this one, or before it going back; one that is never set."""
    return CronSim(times, start.replace(microsecond=0), reverse=back)


def _start(wall: datetime, zone: tzinfo) -> datetime:
    """Return when a line of fixed time starts: the first moment at which the clock shows this, or, if it never does,
    the moment at which it is set forward."""
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    skipped = _wall(moment, zone) - wall
    return _change(zone, moment - skipped, moment) if skipped else moment


def _change(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """Return the first moment at which the zone's offset is that of ``after``, and no longer that of ``before``."""
    seconds, new = int((after - before).total_seconds()), _offset(after, zone)
    low, high = 0, seconds  # At ``after - high`` the offset is the old one.
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(after - middle * _SECOND, zone) == new:
            low = middle
        else:
            high = middle
    return after - low * _SECOND


def _wall(moment: datetime, zone: tzinfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(moment: datetime, zone: tzinfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _naive(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)


def _utc(wall: datetime, offset: timedelta) -> datetime:
    return (wall - offset).replace(tzinfo=UTC)
