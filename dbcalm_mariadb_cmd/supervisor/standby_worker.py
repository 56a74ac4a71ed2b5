"""The process that makes the warm copy, or brings it up to the newest backup: started by the service in idle time, as
``mysql``, behind everything else. It holds the lock of the warm copy, and whoever wants it away ends it at any moment.
"""

import sys
from pathlib import Path

from dbcalm_mariadb_cmd.adapter.tool import Output
from dbcalm_mariadb_cmd.errors import JobFailed, describe
from dbcalm_mariadb_cmd.jobs.order import WarmJob, read_order
from dbcalm_mariadb_cmd.restore import chain as restore
from dbcalm_mariadb_cmd.storage import standby
from dbcalm_mariadb_cmd.store.manifest import Damaged
from dbcalm_mariadb_cmd.supervisor import runner


def main(folder: Path, lock: int) -> int:
    """Make the warm copy as this folder's order says; return 0, or 1 with one line on standard error and nothing left.
    ``lock`` is the descriptor of its lock, held."""
    standby.note_group(lock)
    runner.set_limits()
    job = read_order(folder)
    assert isinstance(job, WarmJob)
    output = Output(folder / "output.log")
    runner.yield_to_others(job.effort, output)
    try:
        restore.make_whole(job, output, lock, done=standby.begin(job))
        standby.finish(job)
    except (JobFailed, Damaged, OSError, ValueError) as error:
        print(describe(error) if isinstance(error, OSError) else error, file=sys.stderr)
        standby.remove(Path(job.places.data_dir))
        return 1
    finally:
        output.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
