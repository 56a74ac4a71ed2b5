"""Does a job as its runner, and kills itself just before the n-th change or opening of a file of the installation.

What a thread does again and again in between, such as sending to the disk what the tool has written, changes no file
and happens as often as the time allows: it is not counted.

engine_killed.py FOLDER_OF_THE_JOB LOCK ROOT N
"""

import os
import signal
import sys
import threading
from pathlib import Path

from dbcalm_mariadb_cmd.supervisor import runner

FOLDER, LOCK, ROOT, FATAL = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
WATCHED = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "ctypes.dlsym"}
seen = 0


def watch(event: str, arguments: tuple[object, ...]) -> None:
    """Count an event of the interpreter, and end at the fatal one."""
    global seen
    path = str(arguments[0]) if event in WATCHED else ""
    ours = path.startswith(ROOT) or event.startswith(("os.r", "ctypes"))
    at_times = threading.current_thread().name.endswith("(repeat)")
    if event in WATCHED and ours and "progress" not in path and not at_times:
        seen += 1
        if seen == FATAL:
            os.kill(os.getpid(), signal.SIGKILL)


sys.addaudithook(watch)
runner.main(FOLDER, LOCK)
