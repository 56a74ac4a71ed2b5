"""What a token may be good for."""

from collections.abc import Iterable

from dbcalm.errors import InvalidField

ALL = "*"

REPLACE = "database:replace"
"""Not of the resource restores: who may restore everything everywhere else may not, by that alone, stop a database."""

SCOPES = {
    "backups:read": "see backups",
    "backups:write": "make, delete, hold and clean up backups",
    "restores:read": "see restores",
    "restores:write": "restore backups",
    REPLACE: "stop the database and replace its data, with restores:write; bring back what was replaced",
    "processes:read": "see processes and the status of jobs",
    "processes:write": "cancel jobs",
    "schedules:read": "see schedules",
    "schedules:write": "add, change and delete schedules",
    "clients:read": "see clients",
    "clients:write": "add, change and delete clients",
    "status:read": "see whether all is well",
}
"""Every scope that a route can need, and what it allows."""

WILDCARDS = (ALL, *sorted({f"{scope.split(':')[0]}:*" for scope in SCOPES}))


KNOWN = frozenset((*WILDCARDS, *SCOPES))
"""All that may stand in a token."""


def allows(granted: Iterable[str], wanted: str) -> bool:
    """Tell whether somebody with these scopes may do, or hand on, what the wanted scope or wildcard stands for."""
    return bool({ALL, wanted, f"{wanted.split(':')[0]}:*"}.intersection(granted))


def checked(scopes: Iterable[str]) -> tuple[str, ...]:
    """Return the scopes sorted and without doubles; raise InvalidField if there is none or one is unknown."""
    found = tuple(sorted(set(scopes)))
    if not found:
        raise InvalidField("scopes", "must name at least one scope")
    for scope in found:
        if scope not in KNOWN:
            raise InvalidField("scopes", f"must be of {', '.join((*WILDCARDS, *SCOPES))}")
    return found
