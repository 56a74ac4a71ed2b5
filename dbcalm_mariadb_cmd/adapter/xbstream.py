"""The backup tool's stream, as far as one small file in it has to be changed on its way.

It is a row of chunks: a head of 14 bytes (magic, flags, kind, length of the name), the name, and in one that has bytes
of a file its length, offset and CRC-32, and these bytes. All but those of the file in question are handed over by the
kernel.
"""

import os
import struct
import zlib
from collections.abc import Callable

from dbcalm_mariadb_cmd.adapter.files import write_all

_MAGIC = b"XBSTCK01"
_HEAD = struct.Struct("<8s2sI")
_FACTS = struct.Struct("<QQI")
_BYTES, _END = b"P", b"E"
_LONGEST_NAME = 4096
_LARGEST_EDITED = 1 << 20
_PIECE = 1 << 20


class NoStream(Exception):
    """What comes is not of this form."""


class Relay:
    """Hands a stream from one pipe over to another. ``edit`` gets the bytes of the file of this name, and returns just
    as many. ``moved`` is told how many bytes went over."""

    def __init__(self, coming: int, going: int, name: str, edit: Callable[[bytes], bytes]) -> None:
        self._coming = coming
        self._going = going
        self._name = name.encode()
        self._edit = edit
        self._ahead = b""
        self._moved: Callable[[int], None] = lambda _count: None

    def run(self, moved: Callable[[int], None]) -> None:
        """Hand over all that comes; raise NoStream or OSError."""
        self._moved = moved
        while head := self._read(_HEAD.size):
            self._chunk(head)

    def _chunk(self, head: bytes) -> None:
        if len(head) < _HEAD.size or not head.startswith(_MAGIC):
            raise NoStream
        _, kinds, length = _HEAD.unpack(head)
        if length > _LONGEST_NAME:
            raise NoStream
        name, kind = self._read(length), kinds[1:]
        if kind == _BYTES:
            self._bytes(head + name, name)
        else:
            self._write(head + name)
            if kind != _END:
                self._to_next_chunk()  # Of a kind that newer tools have; it may have a second name.

    def _bytes(self, head: bytes, name: bytes) -> None:
        facts = self._read(_FACTS.size)
        if len(facts) < _FACTS.size:
            raise NoStream
        length, offset, _ = _FACTS.unpack(facts)
        if name != self._name:
            self._write(head + facts)
            self._hand_over(length)
            return
        if length > _LARGEST_EDITED:
            raise NoStream
        edited = self._edit(self._read(length))
        if len(edited) != length:
            raise NoStream
        self._write(head + _FACTS.pack(length, offset, zlib.crc32(edited)) + edited)

    def _read(self, count: int) -> bytes:
        """Return the next so many bytes, fewer only at the end."""
        found, self._ahead = self._ahead[:count], self._ahead[count:]
        while len(found) < count and (more := os.read(self._coming, count - len(found))):
            found += more
        return found

    def _write(self, data: bytes) -> None:
        write_all(self._going, memoryview(data))
        self._moved(len(data))

    def _hand_over(self, count: int) -> None:
        early, self._ahead = self._ahead[:count], self._ahead[count:]
        if early:
            self._write(early)
        left = count - len(early)
        while left and (moved := os.splice(self._coming, self._going, min(left, _PIECE))):
            left -= moved
            self._moved(moved)

    def _to_next_chunk(self) -> None:
        while (place := self._ahead.find(_MAGIC)) < 0:
            more = os.read(self._coming, 4096)
            if not more:
                place = len(self._ahead)
                break
            self._ahead += more
        self._write(self._ahead[:place])
        self._ahead = self._ahead[place:]
