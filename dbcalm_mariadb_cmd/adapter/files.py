"""Folders of a backup: listed, checksummed, copied, removed. Links and devices have no place in them."""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TypeVar

from dbcalm_mariadb_cmd.adapter.linux import Writeback, begin_writeback, share_bytes
from dbcalm_mariadb_cmd.adapter.periodic import repeating
from dbcalm_mariadb_cmd.adapter.small_files import new_file, open_regular

T = TypeVar("T")

_FILE_MODE, _FOLDER_MODE = 0o660, 0o700
_CHUNK = 1 << 18
"""Bytes that stay in a core's cache between being read, checksummed and written."""

_WRITTEN_AT_ONCE = 1 << 15
"""Bytes of one write to a file. For so many the kernel takes memory that it has at hand for each core (up to
PAGE_ALLOC_COSTLY_ORDER, 8 pages); for more, where its page cache has large folios, it takes what was not in use lately,
which on a virtual machine the host may have to find first: up to four times the kernel's work for the same copy."""

_READ_CHUNK = 1 << 20
_WORKERS = 2
_SHORTEST_PAUSE = 0.1


@dataclass(frozen=True)
class FileState:
    """One file: bytes, times of change in ns, and SHA-256 in hexadecimal.

    The times stand for the checksum: a file whose size, mtime and ctime are as they were was not written since, as
    ctime cannot be set by a program.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    sha256: str

    def unwritten(self, status: os.stat_result) -> bool:
        """Tell whether the file was left alone since this state was taken."""
        return (self.size, self.mtime_ns, self.ctime_ns) == (
            status.st_size,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield (path below the folder, lstat) of each file, and of each folder as path + "/"; raise OSError for links,
    devices and the like."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield f"{entry.name}/", status
            for below, inner in walk(folder / entry.name):
                yield f"{entry.name}/{below}", inner
        elif stat.S_ISREG(status.st_mode):
            yield entry.name, status
        else:
            raise OSError(f"{folder / entry.name} is neither a file nor a folder")


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder; files that vanish meanwhile do not count."""
    total = 0
    for root, _folders, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except FileNotFoundError:
                continue
    return total


def file_state(path: Path) -> FileState:
    """Read a file and return its state; raise OSError if it is written to meanwhile."""
    with open(open_regular(path), "rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        state = FileState(before.st_size, before.st_mtime_ns, before.st_ctime_ns, digest)
        if not state.unwritten(os.fstat(file.fileno())):
            raise OSError(f"{path} changed while it was read")
    return state


def copy_tree(
    source: Path,
    target: Path,
    names: dict[str, str],
    on_bytes: Callable[[int], None],
    *,
    to_stay: bool = True,
) -> dict[str, str]:
    """Copy the named files (path below the folder: expected SHA-256; a path that ends in "/" is a folder) into a new
    folder, and raise ValueError naming the first file that is not what was expected.

    Where the file system can share the bytes of two files, nothing is read or written: return those, which the caller
    has yet to compare. ``on_bytes`` is told of the others piece by piece, by several threads at once. A copy that is
    not ``to_stay`` is removed soon, and is not sent to the disk.
    """
    shared: dict[str, str] = {}

    def copy(name: str) -> None:
        if not _copy_file(source / name, target / name, names[name], on_bytes, to_stay):
            shared[name] = names[name]

    target.mkdir(_FOLDER_MODE)
    for name in names:
        if name.endswith("/"):
            (target / name).mkdir(_FOLDER_MODE)
    files = [name for name in names if not name.endswith("/")]
    at_once(copy, files, _WORKERS)
    return shared


@contextmanager
def sent_to_disk(folder: Path) -> Iterator[None]:
    """Let the kernel write to the disk, all through a block, what a program writes into this folder: else it begins
    when a tenth of the memory waits to be written, and whoever syncs at the end waits for all of that."""
    sent: dict[str, int] = {}
    took = 0.0

    def send() -> None:
        nonlocal took
        began = time.monotonic()
        # It may not be there yet; and what cannot be written shows itself in the sync at the end.
        with suppress(OSError):
            for name, status in walk(folder):
                if status.st_size != sent.get(name) and not name.endswith("/"):
                    sent[name] = status.st_size
                    with open(folder / name, "rb", buffering=0, opener=no_link) as file:
                        begin_writeback(file.fileno())
        took = time.monotonic() - began

    with repeating(send, lambda: max(_SHORTEST_PAUSE, 10 * took)):
        yield


def read_tree(
    folder: Path, names: dict[str, str], on_bytes: Callable[[int], None], *, from_disk: bool
) -> None:
    """Read the named files, as ``copy_tree`` has them; raise ValueError naming the first file that is not what was
    expected. ``from_disk`` goes past the page cache: what is in memory says nothing of what the disk has kept."""
    files = [name for name in names if not name.endswith("/")]
    at_once(lambda name: _read_file(folder / name, names[name], on_bytes, from_disk), files, _WORKERS)


def at_once(work: Callable[[T], object], items: Iterable[T], workers: int) -> None:
    """Do the work for each of the items, so many at a time; raise what the first that failed has raised, once none is
    worked on any more."""
    with ThreadPoolExecutor(workers) as pool:
        jobs = [pool.submit(work, item) for item in items]
        try:
            for job in jobs:
                job.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _read_file(path: Path, sha256: str, on_bytes: Callable[[int], None], from_disk: bool) -> None:
    """Read a file and compare it. (Pages that are not written yet stay in memory; posix_fadvise(2).)"""

    def forget(file: FileIO) -> None:
        if from_disk:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    digest, buffer = hashlib.sha256(), bytearray(_READ_CHUNK)
    with naming(path), open(path, "rb", buffering=0, opener=no_link) as file:
        forget(file)
        while count := file.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
            on_bytes(count)
        forget(file)
    if digest.hexdigest() != sha256:
        raise ValueError(f"the checksum of {path} differs")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what the kernel says in the block name this file, if it names none."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _copy_file(
    source: Path, target: Path, sha256: str, on_bytes: Callable[[int], None], to_stay: bool
) -> bool:
    """Copy a file and return True; or return False where it shares its bytes with the original, which was not read."""
    with (
        open(source, "rb", buffering=0, opener=no_link) as original,
        open(target, "x+b", buffering=0) as copy,
    ):
        if share_bytes(original.fileno(), copy.fileno()):
            return False
        if _copy_bytes(original, copy, on_bytes, to_stay) != sha256:
            raise ValueError(f"the checksum of {source} differs")
        return True


def _copy_bytes(original: FileIO, copy: FileIO, on_bytes: Callable[[int], None], to_stay: bool) -> str:
    """Copy a file; return the SHA-256 of what was read, and so of what was written."""
    digest, buffer = hashlib.sha256(), bytearray(_CHUNK)
    sending = Writeback(copy.fileno() if to_stay else None)
    while count := original.readinto(buffer):
        piece = memoryview(buffer)[:count]
        digest.update(piece)
        write_file(copy.fileno(), piece)
        sending.wrote(count)
        on_bytes(count)
    sending.send()
    return digest.hexdigest()


def write_file(descriptor: int, piece: memoryview) -> None:
    """Write all of it to a file; raise OSError."""
    for start in range(0, len(piece), _WRITTEN_AT_ONCE):
        write_all(descriptor, piece[start : start + _WRITTEN_AT_ONCE])


def write_all(descriptor: int, piece: memoryview) -> None:
    """Write all of it; raise OSError."""
    while piece:
        piece = piece[os.write(descriptor, piece) :]


def no_link(path: str, flags: int) -> int:
    """Open a file to read, as ``open`` wants it, but raise OSError for a link, or anything else that is no file."""
    assert flags & os.O_ACCMODE == os.O_RDONLY
    return open_regular(Path(path))


def set_modes(folder: Path) -> None:
    """Give everything below a folder the modes that a server gives its own: 0660 to files and 0700 to folders."""
    for name, _status in walk(folder):
        (folder / name).chmod(_FOLDER_MODE if name.endswith("/") else _FILE_MODE)


def remove_tree(folder: Path) -> None:
    """Remove a folder and what is in it. Walks by descriptor, follows no link, and stays on one device."""
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _remove_below(
            parent,
            folder.name,
            os.stat(folder.name, dir_fd=parent, follow_symlinks=False).st_dev,
        )
    finally:
        os.close(parent)


def _remove_below(parent: int, name: str, device: int) -> None:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        if os.fstat(descriptor).st_dev != device:
            raise OSError(f"{name} lies on another device and is not removed")
        with os.scandir(descriptor) as entries:
            listed = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for inner, is_folder in listed:
            if is_folder:
                _remove_below(descriptor, inner, device)
            else:
                os.unlink(inner, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    os.rmdir(name, dir_fd=parent)


def write_synced(path: Path, text: str, mode: int = 0o666) -> None:
    """Write a file, or replace it, whole or not at all, also across a power cut; raise OSError."""
    fresh = path.with_name(f"{path.name}.new")
    with open(new_file(fresh, mode), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; raise OSError if that fails."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
