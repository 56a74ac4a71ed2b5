"""The forms in which a backup is stored, and the commands that its bytes go through on their way: pure functions.

``folder`` is what the tool writes by itself. The others are one file, the tool's stream, packed and perhaps encrypted;
beside it lies a folder with the few facts that an incremental backup needs to know of its base.
"""

from dataclasses import dataclass
from pathlib import Path

FOLDER = "folder"
CHECKPOINTS = "dbcalm-lsn"
"""The folder beside a stream with the tool's own checkpoints and info. No schema's folder can be called so: in those a
dash is written ``@002d``."""

_STREAM = "backup.xbstream"
_SEALED = ".age"


@dataclass(frozen=True)
class Packer:
    """A program that packs a stream: its command's words for a level and a number of threads (0: by the cores), and
    the ending of what it writes. Both packers unpack with the same words."""

    program: str
    suffix: str
    levels: int
    threads: bool

    def packing(self, level: int, threads: int) -> list[str]:
        """Return the words that pack standard input to standard output. A level above the program's own is its best."""
        by = [f"-T{threads}"] if self.threads else []
        return ["-c", "-q", f"-{min(level, self.levels)}", *by]

    def unpacking(self) -> list[str]:
        """Return the words that unpack standard input to standard output."""
        return ["-d", "-c", "-q"]


PACKERS = {
    "zstd": Packer("zstd", ".zst", 19, threads=True),
    "gzip": Packer("gzip", ".gz", 9, threads=False),
}
FORMS = (FOLDER, *PACKERS)
"""The closed words for what a backup can be stored as."""


@dataclass(frozen=True)
class Storing:
    """How a backup is to be stored. ``level`` and ``threads`` are the packer's; with ``recipients``, age's public keys,
    the stream is encrypted to each of them."""

    form: str = FOLDER
    level: int = 1
    threads: int = 0
    recipients: tuple[str, ...] = ()


AS_FOLDER = Storing()


def stream_name(form: str, recipients: tuple[str, ...]) -> str:
    """Return the name of the file that holds a backup of this form."""
    return f"{_STREAM}{PACKERS[form].suffix}{_SEALED if recipients else ''}"


def checkpoints_folder(backup: Path, form: str) -> Path:
    """Return where a backup of this form has the tool's checkpoints."""
    return backup if form == FOLDER else backup / CHECKPOINTS


def seal_argv(age: str, recipients: tuple[str, ...]) -> list[str]:
    """Return the command that encrypts standard input to these public keys."""
    return [age, "--encrypt", *(f"--recipient={key}" for key in recipients)]


def unseal_argv(age: str, identity: str) -> list[str]:
    """Return the command that decrypts standard input with the private keys in this file."""
    return [age, "--decrypt", f"--identity={identity}"]


def stream_argv(stream: str, source: Path, names: Path) -> list[str]:
    """Return the command that packs files of a folder into the tool's stream, on standard output. Their names are in a
    file, each with a zero byte behind it, as they may be too many for one command: such streams go one behind the
    other."""
    return ["xargs", "--null", f"--arg-file={names}", stream, "-c", f"--directory={source}"]


def unstream_argv(unstream: str, target: Path) -> list[str]:
    """Return the command that unpacks the tool's stream from standard input into a folder that exists."""
    return [unstream, "-x", f"--directory={target}"]
