"""What root runs: every module that the root service loads beyond the standard library, and the lines to read."""

import subprocess
import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]
_LIST = "import sys, dbcalm_cmd.service; print(*sorted(sys.modules))"


def main() -> int:
    """Print the figures; return 1 if the service loads anything but the standard library and itself."""
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.insert(0, {str(_CHECKOUT)!r}); {_LIST}",
    ]
    modules = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    known = sys.stdlib_module_names | {"__main__"}
    loaded = [name for name in modules if name.partition(".")[0] not in known]
    own = [name for name in loaded if name.partition(".")[0] == "dbcalm_cmd"]
    foreign = sorted(set(loaded) - set(own))
    total = 0
    for name in own:
        path = _CHECKOUT.joinpath(*name.split("."))
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        lines = len(file.read_text().splitlines())
        total += lines
        print(f"{lines:6} {name}")
    print(
        f"{total:6} lines in {len(own)} modules; beyond them and the standard library: {foreign or 'nothing'}"
    )
    return 1 if foreign else 0


if __name__ == "__main__":
    sys.exit(main())
