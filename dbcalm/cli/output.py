"""How commands print what they found: data on standard output, talk on standard error."""

import json
import sys
from collections.abc import Sequence

Row = dict[str, object]


def say(message: str) -> None:
    """Print one line for people, beside what a program may read."""
    print(message, file=sys.stderr)


def show(rows: Sequence[Row], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows as one JSON document, or as columns under their names."""
    if as_json:
        print(json.dumps(rows))
        return
    lines = [
        [column.upper() for column in columns],
        *([str(row[column]) for column in columns] for row in rows),
    ]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
