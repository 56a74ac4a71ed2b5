"""``python -m dev.package_lib deb|rpm``: make the package, from what is built, into ``dist``."""

import sys

from dev.package_lib import deb, rpm
from dev.package_lib.errors import PackageError
from dev.package_lib.release import CHECKOUT, release

_KINDS = {"deb": deb.build, "rpm": rpm.build}


def main() -> int:
    """Make the package that the argument names; return 0, 1 with one line on standard error, or 2."""
    if len(sys.argv) != 2 or sys.argv[1] not in _KINDS:
        print("usage: python -m dev.package_lib deb|rpm", file=sys.stderr)
        return 2
    kind = sys.argv[1]
    work, target = CHECKOUT / "build" / "packages", CHECKOUT / "dist"
    try:
        work.mkdir(parents=True, exist_ok=True)
        version = release()
        print(f"packing them as .{kind}, which takes a minute", file=sys.stderr)
        made = _KINDS[kind](version, work, target)
        for old in set(target.glob(f"dbcalm[-_]*.{kind}")) - {made}:  # So that nobody takes an old one.
            old.unlink()
    except (PackageError, OSError) as error:
        print(f"make {kind}: {error}", file=sys.stderr)
        return 1
    print(f"{made.stat().st_size / 1e6:5.1f} MB  {made.relative_to(CHECKOUT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
