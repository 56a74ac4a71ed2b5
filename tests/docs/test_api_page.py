"""docs/api.md documents every route with its scope and its answers, every field and every list; and nothing else."""

import re
from typing import Any, cast

import pytest

from dbcalm.api.app import create_app
from dbcalm.api.deps import Application
from dbcalm.api.failures import STATUS
from dbcalm.domain.model.listing import COMPARISONS, NULL_TESTS, Listing
from dbcalm.domain.model.scopes import SCOPES, WILDCARDS
from dbcalm.domain.services import backups, processes, restores, schedules
from dbcalm.domain.services.access import clients
from dbcalm.routes import ALL
from tests.docs.commands import CHECKOUT

PAGE = (CHECKOUT / "docs" / "api.md").read_text(encoding="utf-8")
DESCRIBED = create_app(cast(Application, None), ALL, "0").openapi()
OPERATIONS = [
    pytest.param(method.upper(), path, operation, id=f"{method.upper()} {path}")
    for path, operations in DESCRIBED["paths"].items()
    for method, operation in operations.items()
]

EVERYWHERE = {401, 403, 500, 503}
"""Documented once, for all routes."""

_ROW = re.compile(
    r"^\| `(?P<method>[A-Z]+) (?P<path>/\S*)`[^|]*\|(?P<scope>[^|]*)\|(?P<answer>[^|]*)\|(?P<errors>[^|]*)\|$",
    re.MULTILINE,
)
ROWS = {(row["method"], row["path"]): row for row in _ROW.finditer(PAGE)}


def statuses(text: str) -> set[int]:
    return {int(number) for number in re.findall(r"\b[2-5]\d\d\b", text)}


def test_every_route_has_a_row_and_every_row_a_route() -> None:
    assert set(ROWS) == {param.values[:2] for param in OPERATIONS}


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_a_route_is_described_as_it_is(method: str, path: str, operation: dict[str, Any]) -> None:
    row = ROWS[method, path]
    assert row["scope"].strip().strip("`") == operation.get("x-scope", "")
    given = {int(status) for status in operation["responses"]}
    assert statuses(row["answer"]) == {status for status in given if status < 300}
    shown = statuses(row["errors"])
    errors = {status for status in given if status >= 300}
    assert shown <= errors
    assert errors - EVERYWHERE <= shown


def test_every_status_of_an_error_is_explained() -> None:
    explained = statuses(PAGE)
    assert set(STATUS.values()) <= explained


def test_every_field_is_named() -> None:
    fields = {
        (schema, field)
        for schema, described in DESCRIBED["components"]["schemas"].items()
        for field in described.get("properties", {})
    }
    words = {word for form in (r"[a-z_]+", r"[a-z_-]+") for word in re.findall(form, PAGE)}
    assert {(schema, field) for schema, field in fields if field not in words} == set()


def test_every_parameter_is_named() -> None:
    for param in OPERATIONS:
        for parameter in param.values[2].get("parameters", []):
            assert parameter["name"] in PAGE


def test_the_scopes_are_those_that_there_are() -> None:
    rows = re.findall(r"^\| ((?:`[a-z*:]+`(?:, )?)+) \|", PAGE, re.MULTILINE)
    named = {scope for row in rows for scope in re.findall(r"`([a-z]+:[a-z*]+|\*)`", row)}
    assert named == {*SCOPES, *WILDCARDS}
    for scope, about in SCOPES.items():
        assert f"| `{scope}` | {about} |" in PAGE


@pytest.mark.parametrize(
    ("path", "listing"),
    [
        ("/backups", backups.LISTING),
        ("/restores", restores.LISTING),
        ("/processes", processes.LISTING),
        ("/schedules", schedules.LISTING),
        ("/clients", clients.LISTING),
    ],
)
def test_a_list_takes_the_documented_fields(path: str, listing: Listing) -> None:
    assert f"| `{path}` | {', '.join(listing.query)} | {', '.join(listing.order)} |" in PAGE


def test_every_operator_is_documented() -> None:
    grammar = PAGE[PAGE.index("## Lists") :]
    assert [word for word in (*COMPARISONS, *NULL_TESTS) if word not in grammar] == []
