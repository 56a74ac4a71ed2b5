"""What requests are told when a field is not what it must be: in this product's words, whatever the field."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from dbcalm.api import schemas
from dbcalm.api.wording import sentence

WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 7, 1.5, 2**70, float("nan"), "", "no such word", "x" * 100_000, [], [1], {}, {"a": 1},
)  # fmt: skip


def bodies(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for below in model.__subclasses__():
        yield below
        yield from bodies(below)


def mistakes(model: type[BaseModel], given: object) -> list[dict[str, Any]]:
    try:
        model.model_validate(given)
    except ValidationError as error:
        return [dict(one) for one in error.errors()]
    return []


@pytest.mark.parametrize("model", list(bodies(schemas.common.Body)), ids=lambda model: model.__name__)
def test_every_mistake_in_every_field_is_told_in_our_words(model: type[BaseModel]) -> None:
    given: list[object] = [*WRONG, *({field: value} for field in model.model_fields for value in WRONG)]
    found = [one for each in given for one in mistakes(model, each)]
    assert found
    for one in found:
        told = sentence(one)
        assert told.startswith("must be ")
        assert told != one["msg"]
        assert "\n" not in told


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"type": "literal_error", "msg": "…", "ctx": {"expected": "'a', 'b' or 'c'"}}, "must be a, b or c"),
        ({"type": "missing", "msg": "Field required"}, "must be given"),
        ({"type": "less_than_equal", "msg": "…", "ctx": {"le": 59}}, "must be 59 at most"),
        ({"type": "json_invalid", "msg": "…", "ctx": {"error": "Expecting value"}}, "is not JSON: Expecting value"),
        ({"type": "value_error", "msg": "Value error, x", "ctx": {"error": ValueError("must be odd")}}, "must be odd"),
        ({"type": "of_another_library", "msg": "whatever it says"}, "whatever it says"),
    ],
)  # fmt: skip
def test_a_mistake_says_what_is_allowed(found: dict[str, Any], told: str) -> None:
    assert sentence(found) == told
