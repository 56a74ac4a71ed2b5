"""The private keys that open encrypted backups: where they come from, and whether they fit, before anything is written.

An identity that comes with an order is in memory only, in a file that has no name, of which processes get descriptors:
never on disk, in an argument, in a log or in the journal.
"""

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.small_files import open_regular
from dbcalm_mariadb_cmd.adapter.tool import ENVIRONMENT
from dbcalm_mariadb_cmd.builder.storage_format import stream_name, unseal_argv
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.store.manifest import Manifest


@contextmanager
def in_memory(identity: str | None) -> Iterator[int | None]:
    """Yield a descriptor of a file in memory that holds this identity; None for none."""
    if identity is None:
        yield None
        return
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, identity.encode("ascii") + b"\n")
        yield descriptor
    finally:
        os.close(descriptor)


def path_of(descriptor: int) -> str:
    """Return how a process that inherits this descriptor opens the file anew, from its beginning."""
    return f"/proc/self/fd/{descriptor}"


def require_opened(
    chain: list[Manifest], backup_dir: Path, age: str, file: Path | None, given: str | None
) -> None:
    """Raise Refused 409 if a backup of the chain is encrypted and is not opened by the identity that came with the
    order, or else by those in the configured file; 503 if that file cannot be used. Reads no more than each one's
    beginning."""
    sealed = [link for link in chain if link.recipients]
    if not sealed:
        return
    if given is None:
        _require_file(file, sealed[0])
    with in_memory(given) as descriptor:
        for link in sealed:
            keys = str(file) if descriptor is None else path_of(descriptor)
            source = backup_dir / link.id / stream_name(link.form, link.recipients)
            if problem := _opens(unseal_argv(age, keys), source, descriptor):
                whose = "the identity that was given" if given else f"encryption_identity_file {file}"
                raise Refused(409, f"{whose} does not open backup {link.id}, {_sealed_to(link)}: {problem}")


def _require_file(file: Path | None, sealed: Manifest) -> None:
    if file is None:
        raise Refused(
            409,
            f"backup {sealed.id} is {_sealed_to(sealed)}: give the identity with the restore "
            "(dbcalm restore ID --target folder --identity-stdin), or name its file in encryption_identity_file",
        )
    try:
        with open(open_regular(file, follow=True), "rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
    except OSError as error:
        raise Refused(
            503, f"encryption_identity_file {file}: {error.strerror}; user mysql must be able to read it"
        ) from error
    if mode & stat.S_IROTH:
        raise Refused(
            503, f"encryption_identity_file {file} can be read by everybody; make it 0640, root:mysql"
        )


def _sealed_to(link: Manifest) -> str:
    return f"encrypted to {' and '.join(link.recipients)}"


def _opens(argv: list[str], source: Path, descriptor: int | None) -> str:
    """Return why this command does not decrypt the beginning of a file; nothing if it does."""
    with open(open_regular(source), "rb", buffering=0) as stored:
        process = subprocess.Popen(
            argv,
            env=ENVIRONMENT,
            cwd="/",
            stdin=stored,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=() if descriptor is None else (descriptor,),
        )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.read(1):
            process.kill()
            return ""
        said = process.stderr.read(4096).decode("utf-8", "replace").splitlines()
    if process.returncode == 0:
        return ""
    told = next((line for line in said if line.startswith("age: ")), "age did not say why")
    return told.removeprefix("age: ").removeprefix("error: ")
