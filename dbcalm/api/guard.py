"""The outer wall of the API: limits what a request may take, and lets nothing out that is not meant to be seen."""

from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dbcalm.api.failures import FAILED, failure
from dbcalm.logger import log

LARGEST_BODY = 64 * 1024
"""Bytes that a request's body may have."""

LARGEST_ADDRESS = 16 * 1024
LARGEST_HEADERS = 16 * 1024
"""Bytes that a request's path with its query, and its headers, may have."""

_MOST_AT_ONCE = 256


class Guard:
    """Refuses bodies that are too large and more requests than can be worked on, answers what nobody else caught, and
    adds the headers that all answers have."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._active += 1
        try:
            await self._serve(scope, receive, send)
        finally:
            self._active -= 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(raw=message["headers"])
                headers["X-Content-Type-Options"] = "nosniff"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        async def fail(status: int, sentence: str, **headers: str) -> None:
            answer = failure(scope["method"], scope["path"], status, sentence, headers)
            await answer(scope, receive, sending)

        if self._active > _MOST_AT_ONCE:
            await fail(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once; try again", **{"Retry-After": "1"}
            )
            return
        if len(scope["raw_path"]) + len(scope["query_string"]) > LARGEST_ADDRESS:
            await fail(
                HTTPStatus.REQUEST_URI_TOO_LONG, f"the address is longer than {LARGEST_ADDRESS // 1024} KiB"
            )
            return
        if sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEADERS:
            await fail(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"the headers are larger than {LARGEST_HEADERS // 1024} KiB",
            )
            return
        if _announced(scope) > LARGEST_BODY:
            await fail(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LARGE)
            return
        try:
            await self._app(scope, _limited(receive), sending)
        except ClientDisconnect:
            return
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if begun:
                raise
            await fail(HTTPStatus.INTERNAL_SERVER_ERROR, FAILED)


_TOO_LARGE = f"the body is larger than {LARGEST_BODY // 1024} KiB"


def _announced(scope: Scope) -> int:
    """Return how many bytes the request says its body has."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value) if value.isdigit() else 0
    return 0


def _limited(receive: Receive) -> Receive:
    """Return ``receive`` with an end to how much it takes in, for bodies that come in pieces of unknown number."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > LARGEST_BODY:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LARGE)
        return message

    return limited
