"""What the bodies of several resources share: types, pages, failures."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypeAliasType

LARGEST_INTEGER = 2**53 - 1  # The largest that JSON carries everywhere.


Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


Number = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]


Text = Annotated[str, StringConstraints(max_length=4096)]


PRINTABLE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"


"""What a text is that is shown on one line: printable, and not only blanks."""


Label = Annotated[Text, Field(json_schema_extra={"minLength": 1, "maxLength": 128, "pattern": PRINTABLE})]


Status = TypeAliasType("Status", Literal["running", "success", "failed"])


class Body(BaseModel):
    """A request's body: types are not converted, keys that are not fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", hide_input_in_errors=True)


class Answer(BaseModel):
    """An answer's body."""


Form = Literal["folder", "zstd", "gzip"]


class Pagination(Answer):
    total: int
    page: int
    per_page: int
    total_pages: int


class Failure(Answer):
    detail: Annotated[str, Field(description="One sentence that a person can act on.")]


class Mistake(Answer):
    loc: list[str | int]
    msg: str
    type: str


class Invalid(Failure):
    errors: list[Mistake]
