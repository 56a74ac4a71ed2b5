"""What the administrator expects of a restored database: read-only SQL with an expected answer."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

from dbcalm_mariadb_cmd.command.amounts import span

AT_LEAST, AT_MOST, EQUALS, NEWER_THAN = "at_least", "at_most", "equals", "newer_than"
EXPECTATIONS = (AT_LEAST, AT_MOST, EQUALS, NEWER_THAN)
_QUESTION = re.compile(r"(?:SELECT|WITH)\s[^;\\\0]+", re.IGNORECASE)
_LONGEST = 2000


@dataclass(frozen=True)
class Assertion:
    """A question and what its answer, the first value, must be: a number that is ``at_least`` or ``at_most`` so much, a
    text that ``equals``, or a time that is ``newer_than`` so many seconds before the backup's moment."""

    sql: str
    expectation: str
    expected: str


def is_question(sql: str) -> bool:
    """Tell whether this may be asked: one SELECT, of which nothing is a command to the client."""
    return len(sql) <= _LONGEST and "\n" not in sql and _QUESTION.fullmatch(sql) is not None


def problem(assertion: Assertion, answer: str | None, moment: datetime) -> str | None:
    """Return what is wrong with an answer, None if it is as expected. ``moment``, with its zone, is when the backup was
    whole; a time in the answer is of the host's zone."""
    if answer is None:
        return f"{assertion.sql}: no answer"
    if assertion.expectation == EQUALS:
        fine, wanted = answer == assertion.expected, assertion.expected
    elif assertion.expectation == NEWER_THAN:
        oldest = timedelta(seconds=int(assertion.expected))
        wanted = f"a time not older than {span(oldest)} before the backup"
        try:
            at = datetime.fromisoformat(answer)
        except ValueError:
            return f"{assertion.sql}: the answer is {answer[:100]}, not a time"
        fine = at.astimezone() >= moment - oldest
    else:
        try:
            number, bar = Decimal(answer), Decimal(assertion.expected)
        except InvalidOperation:
            return f"{assertion.sql}: the answer is {answer[:100]}, not a number"
        fine = number >= bar if assertion.expectation == AT_LEAST else number <= bar
        wanted = f"{assertion.expectation.replace('_', ' ')} {assertion.expected}"
    return None if fine else f"{assertion.sql}: the answer is {answer[:100]}, not {wanted}"
