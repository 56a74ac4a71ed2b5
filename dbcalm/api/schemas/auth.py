"""Signing in, and tokens."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, SecretStr, WithJsonSchema

from dbcalm.api.schemas.common import Answer, Body, Text
from dbcalm.domain.rules.passwords import LONGEST_PASSWORD


class SignIn(Body):
    username: Text
    password: Annotated[SecretStr, Field(max_length=LONGEST_PASSWORD)]


class TokenRequest(Body):
    """RFC 6749's request. A client's id and secret may stand in the Authorization header (Basic) instead.

    Nothing is required to read it: what is missing is refused in the words of the RFC."""

    model_config = ConfigDict(json_schema_extra={"required": ["grant_type"]})

    grant_type: Annotated[
        Text | None,
        WithJsonSchema({"type": "string", "enum": ["authorization_code", "client_credentials"]}),
        Field(default_factory=lambda: None),  # A default would stand in the schema, which has none.
    ]
    code: Text | None = None
    client_id: Text | None = None
    client_secret: Text | None = None
    scope: Annotated[
        Text | None, Field(description="Scopes joined by blanks; without it all that there are.")
    ] = None


class Code(Answer):
    code: str


class Token(Answer):
    access_token: str
    token_type: Literal["bearer"]
    expires_in: int
    scope: str
