"""One kept-alive connection to the API: the lightest client that the standard library has."""

import http.client
import json
import ssl
from typing import Any
from urllib.parse import urlsplit

from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import Facts


class Connection:
    """Sends requests over one TLS connection with one token."""

    def __init__(self, facts: Facts, url: str = "") -> None:
        """``url`` is another server than the API, which takes no token."""
        context = ssl.create_default_context(cafile=facts.ca)
        self._http = http.client.HTTPSConnection(
            urlsplit(url or facts.url).netloc, timeout=60, context=context
        )
        self._grant = {
            "grant_type": "client_credentials",
            "client_id": facts.client_id,
            "client_secret": facts.client_secret,
        }
        self._headers = {"Content-Type": "application/json"}
        if not url:
            self._headers["Authorization"] = f"Bearer {self.token()}"

    def token(self) -> str:
        """Ask for a token, and return it."""
        status, answer = self.request("POST", "/auth/token", self._grant)
        if status != 200:
            raise SandboxError(f"no token was given: {answer}")
        return str(answer["access_token"])

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return the status and the JSON of the answer."""
        self._http.request(method, path, None if body is None else json.dumps(body), self._headers)
        answer = self._http.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
