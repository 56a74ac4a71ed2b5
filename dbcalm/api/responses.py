"""What routes document in ``responses=``: the answers that they can give, with an example each."""

import inspect
from typing import Any

from pydantic_core import to_json
from starlette.responses import JSONResponse

from dbcalm import errors
from dbcalm.api import examples, schemas
from dbcalm.api.failures import STATUS


class Ready(JSONResponse):
    """An answer that is ready: plain values, written by pydantic in a quarter of the time. It stands beside the model
    that the route declares, and the tests hold it against that."""

    def render(self, content: object) -> bytes:
        """Return the bytes of it."""
        return to_json(content)


Responses = dict[int | str, dict[str, Any]]


def shown(
    example: object,
    *refusals: type[errors.DBCalmError],
    status: int = 200,
    kind: str = "application/json",
) -> Responses:
    """Return the good answer, by its example, and the refusals."""
    good: dict[str, Any] = {"description": "Done"}
    if example is not None:
        good["content"] = {kind: {"example": example}}
    return {status: good, **refused(*refusals)}


def refused(*refusals: type[errors.DBCalmError]) -> Responses:
    """Return the answers to what can go wrong."""
    found: Responses = {}
    for refusal in refusals:
        _document(found, refusal)
    return dict(sorted(found.items()))


def _document(found: Responses, refusal: type[errors.DBCalmError]) -> None:
    status = STATUS[refusal]
    sentence = examples.REFUSALS[refusal.__name__]
    example: dict[str, object] = {"detail": sentence}
    if status == STATUS[errors.InvalidRequest]:
        example["errors"] = [{"loc": ["body", "type"], "msg": sentence, "type": "literal_error"}]
    entry = found.setdefault(
        status,
        {
            "model": schemas.common.Invalid if "errors" in example else schemas.common.Failure,
            "description": " ".join(inspect.cleandoc(refusal.__doc__ or "").split()),
            "content": {"application/json": {"examples": {}}},
        },
    )
    entry["content"]["application/json"]["examples"][refusal.__name__] = {
        "summary": sentence,
        "value": example,
    }


TOO_LONG: Responses = {
    414: {
        "model": schemas.common.Failure,
        "description": "The address is too long.",
        "content": {"application/json": {"example": {"detail": "the address is longer than 16 KiB"}}},
    }
}
"""What every route answers, and what alone a public one without parameters refuses."""

PROTECTED = refused(errors.NotAuthenticated, errors.NotAllowed, errors.Unavailable)
"""What every route that needs a token can answer."""
