"""A small client of the HTTPS API, from the standard library."""

import http.client
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dev.sandbox_lib.errors import SandboxError

_SECONDS = 300.0
_POLL = 0.1


@dataclass(frozen=True)
class Reply:
    """An answer: the HTTP status, and the JSON in it (None if there is none)."""

    status: int
    body: Any


class Api:
    """Calls one API with client credentials; asks for a token when it first needs one, and anew when that has gone."""

    def __init__(self, url: str, authority: Path, client_id: str, client_secret: str) -> None:
        self._address = urlsplit(url).netloc
        self._context = ssl.create_default_context(cafile=str(authority))
        self._credentials = {"client_id": client_id, "client_secret": client_secret}
        self._token = ""

    def request(self, method: str, path: str, body: object = None) -> Reply:
        """Send a request with a token; return whatever is answered."""
        reply = self._send(method, path, body) if self._token else Reply(401, None)
        if reply.status == 401:
            self._token = self._new_token()
            reply = self._send(method, path, body)
        return reply

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request and return the JSON of the answer; raise SandboxError with its sentence if it is an error."""
        reply = self.request(method, path, body)
        if reply.status >= 400:
            detail = reply.body.get("detail") if isinstance(reply.body, dict) else None
            raise SandboxError(f"{method} {path} gave {reply.status}: {detail or reply.body}")
        return reply.body

    def wait(
        self, link: str, on_status: Callable[[dict[str, Any]], None] | None = None, seconds: float = 600.0
    ) -> dict[str, Any]:
        """Poll a status link until it says something else than "running"; return that last Status."""
        deadline = time.monotonic() + seconds
        while True:
            status: dict[str, Any] = self.call("GET", link)
            if on_status:
                on_status(status)
            if status["status"] != "running":
                return status
            if time.monotonic() > deadline:
                raise SandboxError(f"{link} is still running after {seconds:.0f} s")
            time.sleep(_POLL)

    def _new_token(self) -> str:
        body = {"grant_type": "client_credentials", **self._credentials}
        reply = self._send("POST", "/auth/token", body)
        if reply.status != 200:
            raise SandboxError(f"no token was given: {reply.body}")
        return str(reply.body["access_token"])

    def _send(self, method: str, path: str, body: object) -> Reply:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        connection = http.client.HTTPSConnection(self._address, timeout=_SECONDS, context=self._context)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except OSError as error:
            raise SandboxError(f"the API at {self._address} does not answer: {error}") from error
        finally:
            connection.close()
        return Reply(answer.status, json.loads(text) if text else None)


def is_healthy(url: str, authority: Path) -> bool:
    """Tell whether an API answers its health check over verified TLS."""
    context = ssl.create_default_context(cafile=str(authority))
    connection = http.client.HTTPSConnection(urlsplit(url).netloc, timeout=_SECONDS, context=context)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except ConnectionError:
        return False
    finally:
        connection.close()
