"""Access tokens: JSON Web Tokens, signed by one key and one algorithm. The one module that knows the JWT library."""

import time
import uuid
from collections import OrderedDict
from dataclasses import dataclass

from jose import jwk, jwt
from jose.exceptions import JOSEError

from dbcalm.domain.model.entities import Grant
from dbcalm.errors import NotAuthenticated

LIFETIME = 3600
"""Seconds that a token is good for."""

_ISSUER = "dbcalm"
_AUDIENCE = "dbcalm-api"
_REQUIRED = ("exp", "iat", "iss", "aud", "sub", "jti")
_KEPT = 1024
_BAD_TOKEN = (JOSEError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What the library, and our own reading of the claims, raise for what a stranger may send as a token."""


@dataclass(frozen=True)
class _Verified:
    grant: Grant
    expires_at: int


class Tokens:
    """Issues tokens and reads them back.

    A signature that was verified once need not be verified again, so the last ones are kept by their text; whether a
    token's subject is still good is never kept, and asked at each request.
    """

    def __init__(self, key: bytes, algorithm: str) -> None:
        self._key = jwk.construct(key, algorithm)
        self._algorithm = algorithm
        self._verified: OrderedDict[str, _Verified] = OrderedDict()

    def issue(self, grant: Grant) -> str:
        """Return a token for this grant, good from now on for ``LIFETIME`` seconds."""
        now = int(time.time())
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "sub": grant.subject,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": uuid.uuid4().hex,
            "scope": " ".join(grant.scopes),
            "generation": grant.generation,
        }
        return str(jwt.encode(claims, self._key, algorithm=self._algorithm))

    def read(self, token: str) -> Grant:
        """Return what a token grants; raise NotAuthenticated if it is not ours, is changed, or has expired."""
        known = self._verified.get(token)
        if known is None:
            known = self._verified[token] = self._verify(token)
            while len(self._verified) > _KEPT:
                self._verified.popitem(last=False)
        if known.expires_at <= time.time():
            raise NotAuthenticated("the token has expired; get a new one")
        return known.grant

    def _verify(self, token: str) -> _Verified:
        try:
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[self._algorithm],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                options={f"require_{name}": True for name in _REQUIRED},
            )
            grant = Grant(claims["sub"], int(claims["generation"]), tuple(claims["scope"].split()))
            return _Verified(grant, int(claims["exp"]))
        except _BAD_TOKEN as error:
            raise NotAuthenticated("the token is not valid, or has expired; get a new one") from error
