"""Calls of Linux that Python's standard library lacks."""

import ctypes
import errno
import fcntl
import os
import platform
import re
import signal
import struct
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_AT_FDCWD = -100
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2
_STATX_BTIME = 0x800
_STATX_SIZE = 256
_BTIME_OFFSET = 80
_SYNC_FILE_RANGE_WRITE = 2
_SENT_AT_ONCE = 8 << 20
_FICLONE = 0x40049409
_CANNOT_SHARE = (errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV, errno.ENOTTY, errno.ENOSYS, errno.EPERM)
_FS_IOC_GETFLAGS = 0x80086601
_FS_IMMUTABLE, _FS_APPEND = 0x10, 0x20
_MOUNTS = Path("/proc/self/mountinfo")
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}
"""The call's number, which is the machine's: the C library has no function for it."""

_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_SHIFT = 13
_IOPRIO_LOWEST = 7


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that made it ends (prctl(2))."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def sync_file_system(path: Path) -> None:
    """Write everything of the file system that holds ``path`` to the device (syncfs(2)); raise OSError if that fails.

    One call for a whole tree: the tool itself syncs nothing, and a call a file costs a journal commit each.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        _check(_LIBC.syncfs(descriptor), path)
    finally:
        os.close(descriptor)


def begin_writeback(descriptor: int) -> None:
    """Let the kernel begin to write a file to the device, without waiting (sync_file_range(2)): what is on its way
    need not be waited for at the end. Where that is not to be had, nothing is lost but time."""
    _LIBC.sync_file_range(
        descriptor, ctypes.c_int64(0), ctypes.c_int64(0), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE)
    )


class Writeback:
    """Lets the kernel write a file to the device while more is written to it: the device has work from the beginning,
    and never so much at once that whoever writes has to wait for it. Nothing is done for a descriptor of None."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._unsent = 0

    def wrote(self, count: int) -> None:
        """Take note of so many more bytes."""
        self._unsent += count
        if self._unsent >= _SENT_AT_ONCE:
            self.send()

    def send(self) -> None:
        """Let the kernel begin with what it has not been told of."""
        if self._descriptor is not None:
            begin_writeback(self._descriptor)
        self._unsent = 0


def share_bytes(source: int, target: int) -> bool:
    """Let an empty file have the bytes of another without copying them (FICLONE, ioctl_ficlone(2)); return False where
    the file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT_SHARE:
            raise
        return False
    return True


def rename_new(old: Path, new: Path) -> None:
    """Rename, but raise FileExistsError rather than replace anything (renameat2(2)).

    NFS and some others do not know that flag: there a file is linked and unlinked, which replaces nothing either, and
    a folder is renamed, which replaces an empty folder at the most.
    """
    try:
        _check(
            _LIBC.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _RENAME_NOREPLACE), new
        )
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        if old.is_dir():
            old.rename(new)
        else:
            os.link(old, new, follow_symlinks=False)
            old.unlink()


def exchange_names(one: Path, other: Path) -> None:
    """Give two files each other's name in one step (renameat2(2)); raise OSError, with EINVAL where the file system
    cannot do that."""
    _check(_LIBC.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE), one)


def birth_time(path: Path) -> int:
    """Return when the file was created, in ns since 1970, or 0 where the file system does not say (statx(2)).

    An inode number alone does not identify a file: ext4 gives a freed one out again at once.
    """
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    _check(_LIBC.statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, buffer), path)
    (mask,) = struct.unpack_from("=I", buffer, 0)
    seconds, nanoseconds = struct.unpack_from("=qI", buffer, _BTIME_OFFSET)
    return int(seconds) * 10**9 + int(nanoseconds) if mask & _STATX_BTIME else 0


def is_fixed(path: Path) -> bool:
    """Tell whether a file or folder has a flag that keeps even its owner from moving it: immutable or append-only
    (chattr(1), ioctl_iflags(2)). What cannot be opened, or has no flags, has none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, bytes(struct.calcsize("l"))))
        return bool(flags & (_FS_IMMUTABLE | _FS_APPEND))
    except OSError:
        return False
    finally:
        os.close(descriptor)


def mount_points() -> set[str]:
    """Return where something is mounted, as this process sees it (proc_pid_mountinfo(5))."""
    lines = _MOUNTS.read_bytes().splitlines()
    places = (line.split(b" ")[4] for line in lines)
    return {
        os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8)]), place))
        for place in places
    }


def set_io_class(number: int) -> None:
    """Give this process, and those that it starts, the lowest I/O priority of a class: 2 is best effort, 3 is idle
    (ioprio_set(2)); raise OSError if that is not to be had."""
    call = _IOPRIO_SET.get(platform.machine())
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), "ioprio_set")
    priority = number << _IOPRIO_CLASS_SHIFT | _IOPRIO_LOWEST
    _check(_LIBC.syscall(call, _IOPRIO_WHO_PROCESS, 0, priority), Path("ioprio_set"))


def _check(result: int, path: Path) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
