"""The benchmark's command: two sandboxes, all measurements, one table."""

import argparse
import sys
import tempfile
from pathlib import Path

from dev.bench_lib import jobs, requests
from dev.bench_lib.figures import Figure, table
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import Sandbox


def main() -> int:
    """Measure and print; return 0, or 1 with one line if something could not be measured."""
    parser = argparse.ArgumentParser(prog="dev/bench", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the data set (default 1000)")
    parser.add_argument(
        "--rows", type=int, default=100_000, help="rows in the large catalogue (default 100,000)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="times that each pair is measured (default 5)")
    options = parser.parse_args()
    figures: list[Figure] = []
    try:
        with tempfile.TemporaryDirectory(prefix="dbcalm-bench-") as folder:
            Path(folder).chmod(0o755)
            sandbox = Sandbox.up(Path(folder) / "sandbox")
            try:
                figures += jobs.overhead(sandbox, options.rounds)
                figures += requests.services(sandbox)
                figures += jobs.copies(sandbox, options.megabytes, options.rounds)
                figures += requests.lists(sandbox, options.rows)
            finally:
                sandbox.down()
    except SandboxError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
