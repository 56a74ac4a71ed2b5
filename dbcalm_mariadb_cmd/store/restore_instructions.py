"""RESTORE.md: how to restore a backup with the tool alone, written into its folder when it is made.

The text is a pure function of the chain's manifests. A chain never changes, so it stays true as long as it is there.
"""

import shlex
from pathlib import Path

from dbcalm_mariadb_cmd.builder.argv import ENGINES, prepare_argvs
from dbcalm_mariadb_cmd.builder.layout import Places
from dbcalm_mariadb_cmd.builder.storage_format import FOLDER, PACKERS, stream_name
from dbcalm_mariadb_cmd.command.amounts import size
from dbcalm_mariadb_cmd.store.manifest import FILES, INSTRUCTIONS, Manifest, read_manifest

WHOLE = (
    f"""jq -r 'to_entries[] | select(.key | endswith("/") | not) | "\\(.value[3])  \\(.key)"' {FILES}"""
    " | sha256sum --check --quiet"
)
"""The command that compares a backup with its checksums, in its folder."""

LINK_FILE = ".isl"
"""Ends the name of the file that stands, in the data directory, for a table with its data elsewhere."""

REBUILD = "ALTER TABLE ... FORCE, ALGORITHM=COPY"
"""What makes a plain table of one that was created with DATA DIRECTORY and has been brought back beside its link file.
A server that alters it in another way may crash (seen with MariaDB 10.11)."""

REMOVE_LINK_FILES = f"""find "$RESCUE/{{id}}" -name '*{LINK_FILE}' -delete"""


def chain_of(made: Manifest, places: Places) -> list[Manifest]:
    """Return the backup with those that it is made on, the full one first; raise Damaged."""
    chain = [made]
    while base := chain[0].from_backup_id:
        chain.insert(0, read_manifest(places.backup(base)))
    return chain


def instructions(chain: list[Manifest], places: Places) -> str:
    """Return the text for the last backup of this chain, in Markdown. Its shell blocks, run in order by one bash, put
    the chain in the place of the data directory and keep what was there."""
    newest = chain[-1]
    steps = [
        f"# {newest.id}: restoring it by hand\n\n{_about(newest)}\n\n{_needed(chain, places)}",
        f"## 1. Where things are\n\nChange what differs on this host.\n\n{_block(_variables(chain, places))}",
        f"## 2. Are the backups whole?\n\n{_block(_checks(chain))}",
        "## 3. Copies\n\nOnly copies are prepared: preparing uses a backup up.\n\n" + _block(_copies(chain)),
        "## 4. Prepare\n\nEach must end with `completed OK!`, else stop here.\n\n"
        + _block(_prepares(chain, places)),
        "## 5. In the place of the data directory\n\n"
        "What is there now is kept beside it. Where nothing is, as on a new host, leave its line out, and give the\n"
        'data to the server with `chown -R mysql:mysql "$DATA"` instead.\n\n' + _block(_exchange(chain)),
    ]
    return "\n\n".join(steps) + "\n"


def _about(newest: Manifest) -> str:
    lines = [
        f"The {newest.type} backup {newest.id} of {newest.engine} {newest.server.version}, whole at {newest.end_time}.",
        "Where DBCalm runs, `dbcalm restore ID` does all this and checks more. Here it is done as root, in one bash,",
        "one block after the other. Where a command fails, stop.",
    ]
    if newest.binlog:
        reached = f"{newest.binlog.file}, position {newest.binlog.position}"
        gtid = f", GTID {newest.binlog.gtid}" if newest.binlog.gtid else ""
        lines.append(f"The binary log goes on from it at {reached}{gtid}.")
    if newest.server.encrypts:
        lines.append(
            "**The server encrypts by itself: without its own key files nothing of this can be read. Where "
            "`backup-my.cnf` has the line `#file_key_management_filekey`, or one like it, its password was left out: "
            "write it there, such as `file_key_management_filekey=FILE:/path`, in the copy.**"
        )
    if newest.server.elsewhere:
        kept = ", ".join(f"{name} ({path})" for name, path in sorted(newest.server.elsewhere.items()))
        lines.append(f"**Kept outside the data directory, and not brought there by this page: {kept}.**")
    if _has_link_files(newest):
        lines.append(f"Before such a table is altered, it has to be built anew: `{REBUILD}`.")
    if newest.server.links:
        linked = ", ".join(f"{name} ({path})" for name, path in sorted(newest.server.links.items()))
        lines.append(f"Links in the data directory, which come back as what they stand for: {linked}.")
    return "\n".join(lines)


def _has_link_files(newest: Manifest) -> bool:
    return any(name.endswith(LINK_FILE) for name in newest.server.elsewhere)


def _needed(chain: list[Manifest], places: Places) -> str:
    engine, newest = ENGINES[places.engine_name], chain[-1]
    forms = {link.form for link in chain} - {FOLDER}
    programs = [f"{engine.programs[0]} {newest.tool_version}", "jq"]
    programs += [*engine.unstreamers] if forms else []
    programs += sorted(PACKERS[form].program for form in forms)
    programs += ["age"] if any(link.recipients for link in chain) else []
    ids = ", ".join(link.id for link in chain)
    room = size(sum(link.restored_size for link in chain))
    return f"Needed: {', '.join(programs)}; {room} of room; the folders of {ids}."


def _variables(chain: list[Manifest], places: Places) -> list[str]:
    lines = [
        "set -o pipefail",
        f"BACKUPS={shlex.quote(places.backup_dir)}",
        f"DATA={shlex.quote(places.data_dir)}",
        'RESCUE="$DATA.rescue"',
    ]
    if keys := sorted({key for link in chain for key in link.recipients}):
        lines += [f"# a file with the private key of {' or '.join(keys)}:", "IDENTITY=~/identity.txt"]
    return lines


def _checks(chain: list[Manifest]) -> list[str]:
    return [f'(cd "$BACKUPS/{link.id}" && {WHOLE}) && echo "{link.id} is whole"' for link in chain]


def _copies(chain: list[Manifest]) -> list[str]:
    return ['mkdir "$RESCUE"', *(line for link in chain for line in _copy(link))]


def _copy(link: Manifest) -> list[str]:
    source, target = f'"$BACKUPS/{link.id}"', f'"$RESCUE/{link.id}"'
    if link.form == FOLDER:
        return [f"cp --archive --reflink=auto {source} {target}"]
    packer = PACKERS[link.form]
    stream = f'"$BACKUPS/{link.id}/{stream_name(link.form, link.recipients)}"'
    pipe = [
        " ".join([packer.program, *packer.unpacking()]),
        f"{ENGINES[link.engine].unstreamers[0]} -x -C {target}",
    ]
    if link.recipients:
        pipe.insert(0, 'age --decrypt --identity="$IDENTITY"')
    return [f"mkdir {target}", f"cat {stream} | {' | '.join(pipe)}"]


def _prepares(chain: list[Manifest], places: Places) -> list[str]:
    engine = ENGINES[places.engine_name]
    full, *incrementals = [Path("$RESCUE", link.id) for link in chain]
    argvs = prepare_argvs(engine, Path(engine.programs[0]), full, incrementals)
    return [" ".join(f'"{word}"' if "$" in word else word for word in argv) for argv in argvs]


def _exchange(chain: list[Manifest]) -> list[str]:
    unit = "mariadb" if chain[-1].engine == "mariadb" else "mysql"
    return [
        *([REMOVE_LINK_FILES.format(id=chain[0].id)] if _has_link_files(chain[-1]) else []),
        f"systemctl stop {unit}",
        'mv --no-target-directory "$DATA" "$DATA.before"',
        f'mv --no-target-directory "$RESCUE/{chain[0].id}" "$DATA"',
        f'rm -f "$DATA"/dbcalm-*.json "$DATA/{INSTRUCTIONS}"',
        'chown -R --reference="$DATA.before" "$DATA"',
        'chmod --reference="$DATA.before" "$DATA"',
        f"systemctl start {unit}",
        'rm -r "$RESCUE"',
    ]


def _block(lines: list[str]) -> str:
    return "\n".join(["```sh", *lines, "```"])
