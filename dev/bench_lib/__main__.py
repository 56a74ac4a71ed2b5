"""The benchmark's command: one sandbox, all measurements or some, one table."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from dev.bench_lib import commands, jobs, memory, progress, proof, reflink, requests, restores
from dev.bench_lib.figures import Figure, table
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import Sandbox

_PARTS: dict[str, Callable[[Sandbox, argparse.Namespace], list[Figure]]] = {
    "overhead": lambda sandbox, options: jobs.overhead(sandbox, options.rounds),
    "services": lambda sandbox, _: requests.services(sandbox),
    "starts": lambda sandbox, _: commands.starts(sandbox),
    "schedules": lambda sandbox, _: commands.schedules(sandbox),
    "copies": lambda sandbox, options: jobs.copies(sandbox, options.megabytes, options.rounds),
    "restores": lambda sandbox, options: restores.restores(sandbox, options.megabytes, options.rounds),
    "proof": lambda sandbox, options: proof.proof(sandbox, options.megabytes, options.rounds),
    "tables": lambda sandbox, options: proof.many_tables(sandbox, options.tables, options.rounds),
    "reflink": lambda sandbox, options: reflink.reflink(sandbox, options.megabytes, options.rounds),
    "memory": lambda sandbox, options: memory.memory(sandbox, options.megabytes),
    "progress": lambda sandbox, options: progress.progress(sandbox, options.megabytes, options.rounds),
    "lists": lambda sandbox, options: requests.lists(sandbox, options.rows),
}
"""In the order in which they are measured: what fills the disk and the catalogue comes last."""


def main() -> int:
    """Measure and print; return 0, or 1 with one line if something could not be measured."""
    options = _parser().parse_args()
    figures: list[Figure] = []
    try:
        with tempfile.TemporaryDirectory(prefix="dbcalm-bench-") as folder:
            Path(folder).chmod(0o755)
            sandbox = Sandbox.up(Path(folder) / "sandbox")
            try:
                for name, measure in _PARTS.items():
                    if name in (options.only or _PARTS):
                        figures += measure(sandbox, options)
            finally:
                sandbox.down()
    except SandboxError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(table(figures))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev/bench", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the data set (default 1000)")
    parser.add_argument(
        "--rows", type=int, default=100_000, help="rows in the large catalogue (default 100,000)"
    )
    parser.add_argument("--tables", type=int, default=3000, help="tables where there are many (default 3000)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each pair is measured (default 5)")
    parser.add_argument(
        "--only",
        action="append",
        choices=_PARTS,
        metavar="PART",
        help=f"one of {', '.join(_PARTS)}; repeatable",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
