"""Which server a backup is of."""

from dataclasses import dataclass, field

from dbcalm_mariadb_cmd.command.shapes import Unsigned


@dataclass(frozen=True)
class Origin:
    """The server that was backed up, as far as it can be recognised later.

    ``ibdata`` is [inode, birth in ns] of InnoDB's first file: a data directory that was put back has another one.
    ``elsewhere`` names what the server keeps where a restore does not put it, and where that is. ``encrypts`` says that
    it encrypts tables or logs by itself, with keys that are in no backup. ``settings`` are those that preparing a chain
    depends on, None if they were not noted. ``links`` are links in the data directory that lead out of it, with their
    ends: what they stand for comes back in the data directory itself.
    """

    version: str
    data_dir: str
    ibdata: tuple[Unsigned, Unsigned]
    server_uuid: str
    elsewhere: dict[str, str]
    encrypts: bool = False
    settings: dict[str, str] | None = None
    links: dict[str, str] = field(default_factory=dict)
