"""What the root service can be asked for: to replace the cron file by a set of schedules, or to look whether it is
that set's already; to stop, start, or look at the database's unit."""

import math
from dataclasses import dataclass
from typing import Self

from dbcalm_cmd.wire import Command, InvalidCommand, require_integer, require_word

FREQUENCIES = ("daily", "weekly", "monthly", "hourly", "interval")
VERIFY = "verify"
BACKUP_TYPES = ("full", "incremental", VERIFY)
INTERVAL_UNITS = ("minutes", "hours")

WHOLE_INTERVALS = {
    "minutes": tuple(n for n in range(1, 60) if 60 % n == 0),
    "hours": tuple(n for n in range(1, 24) if 24 % n == 0),
}
"""Intervals that cron keeps by itself: it starts the step anew at each full hour or day, so only divisors are even."""

_LONGEST = {"minutes": 59, "hours": 23}

NEEDS = {
    "daily": ("hour", "minute"),
    "weekly": ("day_of_week", "hour", "minute"),
    "monthly": ("day_of_month", "hour", "minute"),
    "hourly": ("minute",),
    "interval": ("interval_value", "interval_unit"),
}
_ADVERBS = {**dict(zip(FREQUENCIES, FREQUENCIES, strict=True)), "interval": "at an interval"}
_BOUNDS = {"minute": (0, 59), "hour": (0, 23), "day_of_week": (0, 6), "day_of_month": (1, 28)}
_LARGEST_ID = 2**63 - 1
_MOST_SCHEDULES = 5000
"""They fit into a frame whatever their fields hold; Debian's cron drops a file of more than 10,000 lines."""


@dataclass(frozen=True)
class CronSchedule:
    """When to make or verify which backup, in the host's time zone. Fields that the frequency does not need are None or
    in range; ``day_of_week`` 0 is Sunday."""

    id: int
    backup_type: str
    frequency: str
    minute: int | None = None
    hour: int | None = None
    day_of_week: int | None = None
    day_of_month: int | None = None
    interval_value: int | None = None
    interval_unit: str | None = None

    def __post_init__(self) -> None:
        require_integer(self.id, "id", 1, _LARGEST_ID)
        require_word(self.backup_type, "backup_type", BACKUP_TYPES)
        require_word(self.frequency, "frequency", FREQUENCIES)
        for name in NEEDS[self.frequency]:
            if getattr(self, name) is None:
                raise InvalidCommand(
                    f"{name} is needed by a schedule that runs {_ADVERBS[self.frequency]}", name
                )
        for name, (low, high) in _BOUNDS.items():
            if getattr(self, name) is not None:
                require_integer(getattr(self, name), name, low, high)
        if self.interval_unit is not None:
            require_word(self.interval_unit, "interval_unit", INTERVAL_UNITS)
        if self.frequency == "interval":
            longest = _LONGEST[str(self.interval_unit)]
            if type(self.interval_value) is not int or not 1 <= self.interval_value <= longest:
                problem = f"in {self.interval_unit} must be an integer from 1 to {longest}"
                raise InvalidCommand(f"interval_value {problem}", "interval_value")
        elif self.interval_value is not None:
            require_integer(self.interval_value, "interval_value", 1, _LARGEST_ID)

    @property
    def every(self) -> int | None:
        """The minutes of an interval that cron does not keep: its line fires at a finer even step, and the command
        looks whether it is due. Else None."""
        value, unit = self.interval_value, str(self.interval_unit)
        if self.frequency != "interval" or value is None or value in WHOLE_INTERVALS[unit]:
            return None
        return value if unit == "minutes" else value * 60

    @property
    def times(self) -> str:
        """The five time fields of its cron line."""
        minute, hour = self.minute, self.hour
        match self.frequency:
            case "daily":
                return f"{minute} {hour} * * *"
            case "weekly":
                return f"{minute} {hour} * * {self.day_of_week}"
            case "monthly":
                return f"{minute} {hour} {self.day_of_month} * *"
            case "hourly":
                return f"{minute} * * * *"
        if self.every and self.interval_unit == "hours":
            return f"{minute or 0} * * * *"
        count = math.gcd(self.every, 60) if self.every else self.interval_value
        step = "*" if count == 1 else f"*/{count}"
        return f"{step} * * * *" if self.interval_unit == "minutes" else f"{minute or 0} {step} * * *"


@dataclass(frozen=True)
class _OfSchedules(Command):
    """A command about a set of schedules, all that are enabled."""

    schedules: tuple[CronSchedule, ...]

    def __post_init__(self) -> None:
        if not all(isinstance(schedule, CronSchedule) for schedule in self.schedules):
            raise InvalidCommand("schedules must be a list of schedules")
        if len(self.schedules) > _MOST_SCHEDULES:
            raise InvalidCommand(f"{len(self.schedules)} schedules are more than {_MOST_SCHEDULES}")
        if len({schedule.id for schedule in self.schedules}) != len(self.schedules):
            raise InvalidCommand("two schedules have the same id")

    @classmethod
    def from_args(cls, args: object) -> Self:
        """Return the command with these arguments; raise InvalidCommand where they do not fit."""
        listed = args.get("schedules") if isinstance(args, dict) and set(args) == {"schedules"} else None
        if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
            raise InvalidCommand(f"{cls.wire_name} takes schedules, a list of objects")
        try:
            return cls(tuple(CronSchedule(**item) for item in listed))
        except TypeError as error:
            raise InvalidCommand("a schedule has an unknown or missing field") from error


class StopDatabase(Command):
    """Stop the database's unit. Which one that is stands in root's own configuration."""


class StartDatabase(Command):
    """Start it."""


class QueryDatabase(Command):
    """Say how it is. It changes nothing."""


class UpdateCronSchedules(_OfSchedules):
    """Replace the cron file by exactly these schedules."""


class CheckCronSchedules(_OfSchedules):
    """Say whether the cron file is as these schedules make it. It changes nothing."""
