"""Server-sent events: an answer that goes on for as long as there is something to tell (WHATWG HTML, section 9.2)."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from dbcalm.api.pool import Pool
from dbcalm.errors import DBCalmError, Unavailable

MOST_STREAMS = 20
"""Streams that may be open at once: each asks the mysql service twice a second."""

_LOOK_SECONDS = 0.5
_QUIET_SECONDS = 15.0
_ADMITTED_SECONDS = 30.0
_RETRY_MILLISECONDS = 2000


@dataclass(frozen=True)
class Event:
    """One event. ``data`` is JSON-like; ``id`` is what a client that comes back says it has had last."""

    name: str
    data: object
    id: int | None = None

    def encode(self) -> str:
        """Return the lines of it."""
        lines = [f"event: {self.name}", f"data: {json.dumps(self.data, ensure_ascii=False)}"]
        if self.id is not None:
            lines.insert(0, f"id: {self.id}")
        return "\n".join([*lines, "", ""])


@dataclass(frozen=True)
class Look:
    """What a look has found: the events, and whether there are more of them already, or none after these."""

    events: Iterable[Event]
    more: bool
    last: bool


class Streams:
    """The streams of one API. ``stopping`` ends them all."""

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.pool = Pool(threads=2, waiting=MOST_STREAMS)
        self._open = 0
        self._one = threading.Lock()

    def open(self, look: Callable[[], Look], admit: Callable[[], object]) -> "EventStream":
        """Return an answer that tells what each look finds; raise Unavailable if there are too many already.

        ``admit`` is called from time to time, and ends the stream by raising where whoever asks may no longer."""
        with self._one:
            if self._open >= MOST_STREAMS:
                raise Unavailable(f"{MOST_STREAMS} streams of events are open, and there can be no more")
            self._open += 1
        return EventStream(self, look, admit)

    def closed(self) -> None:
        """Make room for another one."""
        with self._one:
            self._open -= 1


class EventStream(StreamingResponse):
    """The answer."""

    media_type = "text/event-stream"

    def __init__(self, streams: Streams, look: Callable[[], Look], admit: Callable[[], object]) -> None:
        super().__init__(_told(streams, look, admit))
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until the last event, or until the client has gone."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.closed()


async def _told(
    streams: Streams, look: Callable[[], Look], admit: Callable[[], object]
) -> AsyncIterator[str]:
    clock = asyncio.get_running_loop().time
    spoke_at = admitted_at = clock()
    yield f"retry: {_RETRY_MILLISECONDS}\n\n"
    while not streams.stopping.is_set():
        try:
            if clock() - admitted_at > _ADMITTED_SECONDS:
                await streams.pool.run(admit)
                admitted_at = clock()
            found = await streams.pool.run(look)
        except DBCalmError:
            return  # The client comes back, and is told why it may not.
        for event in found.events:
            spoke_at = clock()
            yield event.encode()
        if found.last:
            return
        if clock() - spoke_at > _QUIET_SECONDS:
            spoke_at = clock()
            yield ": still here\n\n"
        if not found.more:
            await asyncio.sleep(_LOOK_SECONDS)
