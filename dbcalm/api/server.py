"""The HTTPS server: its limits on a connection, and how it starts and stops."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from dbcalm_cmd.process import notify_systemd

RECEIPT_SECONDS = 15
"""A client has this long to hand over a whole request."""

_IDLE_SECONDS = 60
_LARGEST_HEAD = 32 * 1024
_MOST_CONNECTIONS = 512
_BACKLOG = 512
_STOP_SECONDS = 5
_FAREWELL_SECONDS = 0.1


class _Protocol(H11Protocol):
    """HTTP/1.1 with an end to how long a request may take to arrive, and with errors in the API's form."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's does
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        if self._deadline is None:
            self._await_request()
        super().data_received(data)
        state = self.conn.their_state
        if state is not h11.SEND_BODY and (state is not h11.IDLE or not self.conn.trailing_data[0]):
            self._request_arrived()

    def connection_lost(self, exc: Exception | None) -> None:
        self._request_arrived()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Let a request under way finish; of an idle client do not wait until it agrees to hang up, as TLS would."""
        idle = getattr(self.cycle, "response_complete", True)  # None before the first request.
        super().shutdown()
        if idle:
            self.loop.call_later(_FAREWELL_SECONDS, self.transport.abort)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's words for what it saw
        """Answer to what is not HTTP, or whose address and headers are too long, and hang up."""
        body = json.dumps(
            {"detail": "this is not an HTTP request, or its address and headers are too long"}
        ).encode()
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
        )
        self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _await_request(self) -> None:
        self._deadline = self.loop.call_later(RECEIPT_SECONDS, self.transport.abort)

    def _request_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Server(uvicorn.Server):
    """Stops well on SIGTERM and SIGINT, with ``stopping`` set, does ``reload`` on SIGHUP, and tells systemd when it is
    ready."""

    def __init__(self, config: uvicorn.Config, stopping: threading.Event, reload: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._reload = reload

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)
        }
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Until it serves.
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._reload)
            notify_systemd("READY=1")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        notify_systemd("STOPPING=1")
        self._stopping.set()
        await super().shutdown(sockets)


async def _keep_alive() -> None:
    notify_systemd("WATCHDOG=1")


def serve(app: FastAPI, listener: socket.socket, context: ssl.SSLContext, reload: Callable[[], None]) -> None:
    """Serve the application until SIGTERM or SIGINT, then let requests under way finish; do ``reload``, which raises
    nothing, on SIGHUP."""
    watchdog = int(os.environ.get("WATCHDOG_USEC", "0"))
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        # Addresses that a client claims are not believed.
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
        # From the loop that serves all requests, so that systemd hears nothing while it hangs.
        callback_notify=_keep_alive if watchdog else None,
        timeout_notify=watchdog // 2_000_000,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
        ssl_context_factory=lambda _config, _default: context,
    )
    _Server(config, app.state.application.streams.stopping, reload).run(sockets=[listener])
