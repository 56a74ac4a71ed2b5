"""Signing in, and getting a token."""

import base64
import binascii
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote_plus

from fastapi import Body
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.endpoint import PUBLIC, Incoming, Operation, Routes, answer
from dbcalm.api.tokens import LIFETIME
from dbcalm.domain.entities import Grant
from dbcalm.domain.scopes import KNOWN, allows
from dbcalm.errors import InvalidGrant, InvalidRequest, Throttled, Unavailable, WrongCredentials

routes = Routes("auth", "Signing in, and getting a token.")

AUTHORIZE = Operation(
    schemas.Code,
    examples.CODE,
    refusals=(WrongCredentials, InvalidRequest, Throttled, Unavailable),
    request_examples={"person": {"summary": "A person", "value": examples.SIGN_IN}},
)

TOKEN = Operation(
    schemas.Token,
    examples.TOKEN,
    refusals=(InvalidGrant, InvalidRequest, Throttled, Unavailable),
    request_examples=examples.TOKEN_REQUESTS,
    request_schema=schemas.TokenRequest.model_json_schema(),
)


@routes("POST", "/auth/authorize", scope=PUBLIC, operation=AUTHORIZE, pool="passwords")
def authorize(call: Incoming, body: schemas.SignIn) -> Response:
    """Sign in with user name and password.

    The code that is returned earns one token, within a minute."""
    return answer(
        {"code": call.services.auth.authorize(body.username, body.password.get_secret_value(), call.address)}
    )


@routes("POST", "/auth/token", scope=PUBLIC, operation=TOKEN)
def token(call: Incoming, body: Annotated[Any, Body()]) -> Response:
    """Get a token for a code, or for a client's id and secret.

    As in RFC 6749: the body is JSON or a form, and a client may show its id and secret by HTTP Basic instead. A token
    lives 60 minutes, and ends at once when its user or client is deleted or the user's password is changed."""
    wanted = _token_request(body)
    grant = _narrowed(_granted(call, wanted), wanted.scope)
    return answer(
        {
            "access_token": call.tokens.issue(grant),
            "token_type": "bearer",
            "expires_in": LIFETIME,
            "scope": " ".join(grant.scopes),
        }
    )


def _token_request(body: Any) -> schemas.TokenRequest:
    """Return the request that a JSON body or the bytes of a form hold."""
    if isinstance(body, bytes):
        body = dict(parse_qsl(body.decode("utf-8", "replace")))
    try:
        return schemas.TokenRequest.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in found]) from None


def _granted(call: Incoming, wanted: schemas.TokenRequest) -> Grant:
    match wanted.grant_type:
        case "authorization_code":
            if not wanted.code:
                raise InvalidGrant("the grant type authorization_code needs a code", "invalid_request")
            return call.services.auth.redeem(wanted.code, call.address)
        case "client_credentials":
            id, secret = _basic(call) or (wanted.client_id, wanted.client_secret)
            if not id or not secret:
                raise InvalidGrant(
                    "the grant type client_credentials needs client_id and client_secret", "invalid_request"
                )
            return call.services.auth.client_grant(id, secret, call.address)
    raise InvalidGrant(
        "grant_type must be authorization_code or client_credentials", "unsupported_grant_type"
    )


def _basic(call: Incoming) -> tuple[str, str] | None:
    """Return the id and secret of an Authorization header, or None without one."""
    scheme, _, value = call.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        id, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidGrant("the Authorization header is not valid Basic", "invalid_request") from error
    return unquote_plus(id), unquote_plus(secret)


def _narrowed(grant: Grant, wanted: str | None) -> Grant:
    """Return the grant with only the scopes that were asked for; raise InvalidGrant if it does not have them."""
    scopes = tuple(sorted(set((wanted or "").split())))
    if not scopes:
        return grant
    if not all(scope in KNOWN and allows(grant.scopes, scope) for scope in scopes):
        raise InvalidGrant("a scope was asked for that this client does not have", "invalid_scope")
    return Grant(grant.subject, grant.generation, scopes)
