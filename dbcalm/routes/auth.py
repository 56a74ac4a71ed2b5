"""Signing in, and getting a token."""

import base64
import binascii
from typing import Annotated, Any
from urllib.parse import parse_qsl, unquote_plus

from fastapi import APIRouter, Body
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from dbcalm.api import examples, schemas
from dbcalm.api.deps import Address, App, Services
from dbcalm.api.responses import Ready, shown
from dbcalm.api.security import InTurn, InTurnForPasswords
from dbcalm.api.tokens import LIFETIME
from dbcalm.domain.model.entities import Grant
from dbcalm.domain.model.scopes import KNOWN, allows
from dbcalm.domain.services.access.auth import Auth
from dbcalm.errors import InvalidGrant, InvalidRequest, Throttled, Unavailable, WrongCredentials

router = APIRouter(tags=["auth"], route_class=InTurn)
passwords = APIRouter(tags=["auth"], route_class=InTurnForPasswords)


@passwords.post(
    "/auth/authorize",
    response_model=schemas.auth.Code,
    responses=shown(examples.CODE, WrongCredentials, InvalidRequest, Throttled, Unavailable),
)
def authorize(
    services: Services,
    address: Address,
    body: Annotated[schemas.auth.SignIn, Body(openapi_examples=examples.SIGN_INS)],
) -> Response:
    """Sign in with user name and password.

    The code that is returned earns one token, within a minute."""
    return Ready({"code": services.auth.authorize(body.username, body.password.get_secret_value(), address)})


@router.post(
    "/auth/token",
    response_model=schemas.auth.Token,
    responses=shown(examples.TOKEN, InvalidGrant, InvalidRequest, Throttled, Unavailable),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/TokenRequest"},
                    "examples": examples.TOKEN_REQUESTS,
                }
            },
        }
    },
)
def token(
    request: Request, application: App, address: Address, body: Annotated[Any, Body()] = None
) -> Response:
    """Get a token for a code, or for a client's id and secret.

    As in RFC 6749: the body is JSON or a form, and a client may show its id and secret by HTTP Basic instead. A token
    lives 60 minutes, and ends at once when its user or client is deleted or the user's password is changed."""
    wanted = _token_request(body)
    given = _granted(application.services.auth, wanted, request, address)
    grant = _narrowed(given, wanted.scope)
    return Ready(
        {
            "access_token": application.tokens.issue(grant),
            "token_type": "bearer",
            "expires_in": LIFETIME,
            "scope": " ".join(grant.scopes),
        }
    )


def _token_request(body: Any) -> schemas.auth.TokenRequest:
    """Return the request that a JSON body or the bytes of a form hold."""
    if body is None:
        raise InvalidGrant("the request is empty; it needs a grant_type", "invalid_request")
    if isinstance(body, bytes):
        body = dict(parse_qsl(body.decode("utf-8", "replace")))
    try:
        return schemas.auth.TokenRequest.model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in found]) from None


def _granted(auth: Auth, wanted: schemas.auth.TokenRequest, request: Request, address: str) -> Grant:
    match wanted.grant_type:
        case "authorization_code":
            if not wanted.code:
                raise InvalidGrant("the grant type authorization_code needs a code", "invalid_request")
            return auth.redeem(wanted.code, address)
        case "client_credentials":
            id, secret = _basic(request) or (wanted.client_id, wanted.client_secret)
            if not id or not secret:
                raise InvalidGrant(
                    "the grant type client_credentials needs client_id and client_secret", "invalid_request"
                )
            return auth.client_grant(id, secret, address)
        case None:
            raise InvalidGrant("the request needs a grant_type", "invalid_request")
    raise InvalidGrant(
        "grant_type must be authorization_code or client_credentials", "unsupported_grant_type"
    )


def _basic(request: Request) -> tuple[str, str] | None:
    """Return the id and secret of an Authorization header, or None without one."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
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
