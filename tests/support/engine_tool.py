"""Behaves like mariadb-backup, on a "server" that is a folder beside this file, so that tests need no database.

    server/       the data directory, and server/.lsn the log sequence number
    moments/X.py  code that runs at the moment X: begin, copied, streamed (backup), prepare, end
    calls         one JSON list of arguments a line

A stream is packed by the real mbstream. As with the real tool, preparing changes the target and consumes the
incremental, and a second use of a consumed incremental "succeeds" with its tables missing.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(sys.argv[0]).parent
SERVER = HERE / "server"
OPTIONS = dict(word.partition("=")[::2] for word in sys.argv[1:])
TARGET = Path(OPTIONS.get("--target-dir", ""))


def say(message, thread="00"):
    sys.stderr.write(f"[{thread}] 2026-11-23 03:00:00 {message}\n")
    sys.stderr.flush()


def fail(message):
    say(f"FATAL ERROR: {message}")
    sys.exit(1)


def moment(name):
    code = HERE / "moments" / f"{name}.py"
    if code.exists():
        exec(code.read_text(), globals())


def checkpoints(folder):
    lines = (folder / "xtrabackup_checkpoints").read_text().splitlines()
    values = dict(line.split(" = ") for line in lines)
    return values["backup_type"], int(values["from_lsn"]), int(values["to_lsn"])


def write_checkpoints(folder, kind, from_lsn, to_lsn):
    text = f"backup_type = {kind}\nfrom_lsn = {from_lsn}\nto_lsn = {to_lsn}\nlast_lsn = {to_lsn}\n"
    (folder / "xtrabackup_checkpoints").write_text(text)


def backup(target):
    target.mkdir(exist_ok=True)
    if list(target.iterdir()):
        fail(f"{target} is not empty")
    moment("begin")
    base = OPTIONS.get("--incremental-basedir")
    from_lsn = checkpoints(Path(base))[2] if base else 0
    for path in sorted(SERVER.rglob("[!.]*")):
        copy = target / path.relative_to(SERVER)
        if path.is_dir():
            copy.mkdir()
            continue
        if base and path.suffix == ".ibd":
            copy = copy.with_name(copy.name + ".delta")
            copy.with_name(path.name + ".meta").write_text("page_size = 16384\n")
        say(f"Copying ./{path.relative_to(SERVER)} to {copy}", "01")
        copy.write_bytes(path.read_bytes())
        say("        ...done", "01")
    moment("copied")
    (target / "backup-my.cnf").write_text("[mysqld]\ninnodb_page_size=16384\n")
    (target / "xtrabackup_info").write_text(
        "tool_name = engine_tool\nbinlog_pos = filename 'bin.000003', position '512', "
        "GTID of the last change '0-1-7'\n"
    )
    (target / "xtrabackup_binlog_info").write_text("bin.000003\t512\t0-1-7\n")
    lsn = int((SERVER / ".lsn").read_text())
    write_checkpoints(target, "incremental" if base else "full-backuped", from_lsn, lsn)


def stream(beside):
    global TARGET
    with tempfile.TemporaryDirectory(dir=HERE) as home:
        TARGET = folder = Path(home) / "all"
        backup(folder)
        names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
        for name in names:
            say(f"Streaming ./{name} to <STDOUT>", "01")
        if subprocess.run(["mbstream", "-c", *names], cwd=folder).returncode != 0:
            fail("Error writing file 'UNKNOWN' (errno: 32 \"Broken pipe\")")
        beside.mkdir(mode=0o700)
        for name in ("xtrabackup_checkpoints", "xtrabackup_info"):
            shutil.copyfile(folder / name, beside / name)
    TARGET = beside
    moment("streamed")


def prepare(target):
    moment("prepare")
    kind, _, to_lsn = checkpoints(target)
    increment = OPTIONS.get("--incremental-dir")
    if increment:
        increment = Path(increment)
        if kind != "log-applied":
            fail("applying incremental backup needs a prepared target.")
        _, from_lsn, newer_lsn = checkpoints(increment)
        if from_lsn != to_lsn:
            fail("This incremental backup seems not to be proper for the target.")
        kept = apply(increment, target)
        for path in target.rglob("*.ibd"):
            if str(path.relative_to(target)) not in kept:
                path.unlink()
        to_lsn = newer_lsn
    write_checkpoints(target, "log-applied", 0, to_lsn)


def apply(increment, target):
    kept = set()
    for path in sorted(increment.rglob("*")):
        name = str(path.relative_to(increment))
        if path.is_dir():
            (target / name).mkdir(mode=0o700, exist_ok=True)
        elif path.suffix == ".delta":
            kept.add(name.removesuffix(".delta"))
            shutil.move(path, target / name.removesuffix(".delta"))
        elif path.suffix == ".meta":
            path.unlink()
        elif not name.startswith("dbcalm-"):
            shutil.copyfile(path, target / name)
    return kept


if "--version" in OPTIONS:
    print("engine_tool based on MariaDB server 10.11.19-MariaDB Linux (x86_64)")
    sys.exit(0)
with (HERE / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\n")
os.umask(0o027)
if "--stream" in OPTIONS:
    stream(Path(OPTIONS["--extra-lsndir"]))
elif "--backup" in OPTIONS:
    backup(TARGET)
else:
    prepare(TARGET)
moment("end")
say("completed OK!")
