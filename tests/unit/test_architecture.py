"""What each service loads, how large the root service is, and the traps of the repository's layout."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.patience import PATIENCE

CHECKOUT = Path(__file__).parents[2]
MOST_LINES_OF_ROOT = 850
"""All that root runs of ours, docstrings and comments included, so that one sitting is enough to read it."""

RUNNER_VOCABULARY = {"dbcalm_cmd", "dbcalm_cmd.process", "dbcalm_cmd.wire"}


def loaded_by(module: str, *folders: Path) -> set[str]:
    """Return the modules that an isolated interpreter has loaded after importing this one, those of the standard
    library left out. It sees no installed package but what lies in the given folders."""
    path = [str(folder) for folder in (CHECKOUT, *folders)]
    program = f"import sys; sys.path += {path}; import {module}; print(*sys.modules)"
    command = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    names = set(done.stdout.split()) - {"__main__"}
    assert module in names
    return {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names}


def package_of(name: str) -> str:
    """Return the top package of a module; what PyYAML's compiled half brings counts as yaml."""
    package = name.partition(".")[0]
    return "yaml" if package == "_yaml" or "cython" in package else package


def test_the_root_service_loads_the_standard_library_and_itself_only() -> None:
    assert {package_of(name) for name in loaded_by("dbcalm_cmd.service")} == {"dbcalm_cmd"}


def test_the_root_service_cannot_speak_to_a_network() -> None:
    # It loads subprocess: only systemctl stops and starts the database, with one fixed argv.
    program = (
        f"import sys; sys.path.append({str(CHECKOUT)!r}); import dbcalm_cmd.service; print(*sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", program]
    modules = set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert not modules & {
        "multiprocessing",
        "asyncio",
        "ssl",
        "http",
        "pickle",
        "ctypes",
        "sqlite3",
    }


def test_the_runner_needs_no_yaml_and_little_of_the_root_package() -> None:
    loaded = loaded_by("dbcalm_mariadb_cmd.supervisor.runner")
    assert {package_of(name) for name in loaded} == {"dbcalm_cmd", "dbcalm_mariadb_cmd"}
    assert {name for name in loaded if package_of(name) == "dbcalm_cmd"} == RUNNER_VOCABULARY


def test_the_mysql_service_loads_two_packages_of_ours_and_yaml() -> None:
    installed = Path(yaml.__file__).parents[1]
    loaded = loaded_by("dbcalm_mariadb_cmd.service", installed)
    assert {package_of(name) for name in loaded} == {"dbcalm_cmd", "dbcalm_mariadb_cmd", "yaml"}


@pytest.mark.parametrize("module", ["dbcalm_cmd_client", "dbcalm_mariadb_cmd_client"])
def test_a_client_brings_no_service_into_its_caller(module: str) -> None:
    loaded = loaded_by(module)
    assert not [name for name in loaded if name.endswith((".service", ".process", ".handlers", ".adapter"))]
    assert "yaml" not in loaded


@pytest.mark.parametrize("module", ["dbcalm_cmd.service", "dbcalm_mariadb_cmd.service"])
def test_no_service_loads_a_database_a_framework_or_the_api(module: str) -> None:
    program = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, check=True, capture_output=True, text=True
    )
    modules = {name.partition(".")[0] for name in done.stdout.split()}
    assert not modules & {
        "dbcalm",
        "fastapi",
        "starlette",
        "pydantic",
        "uvicorn",
        "sqlite3",
        "sqlalchemy",
        "jose",
    }


def test_the_root_package_stays_small_enough_to_be_read_at_one_sitting() -> None:
    files = list((CHECKOUT / "dbcalm_cmd").rglob("*.py"))
    assert len(files) >= 6
    lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
    assert lines <= MOST_LINES_OF_ROOT


SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|WITH|REPLACE|ATTACH|VACUUM)\s")


def test_no_sql_is_written_as_text_but_in_the_frozen_migrations() -> None:
    """Pragmas, and BEGIN, have no other form; all else is built from the columns of the tables' classes."""
    texts = []
    for file in (CHECKOUT / "dbcalm").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        texts += [
            (str(file.relative_to(CHECKOUT)), node.lineno)
            for node in ast.walk(tree)
            if (isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value))
            or (isinstance(node, ast.alias) and node.name == "text")
        ]
    assert {name for name, _ in texts} == {"dbcalm/repository/migrations/versions.py"}, texts


def test_the_repository_is_rooms_and_not_a_hall() -> None:
    repository = CHECKOUT / "dbcalm" / "repository"
    for folder in (repository, *(path for path in repository.iterdir() if path.is_dir())):
        assert len([file for file in folder.glob("*.py") if file.name != "__init__.py"]) <= 10, folder
    classes = [
        node
        for file in repository.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    assert max((node.end_lineno or 0) - node.lineno for node in classes) < 200


def test_the_folder_packaging_is_no_package() -> None:
    # As a package it would stand before PyPI's packaging, which pytest and others import.
    assert not (CHECKOUT / "packaging" / "__init__.py").exists()


@pytest.mark.parametrize("launcher", ["dbcalm.py", "dbcalm-cmd.py", "dbcalm-mariadb-cmd.py"])
def test_launchers_hold_nothing_but_a_call(launcher: str) -> None:
    lines = [line for line in (CHECKOUT / launcher).read_text(encoding="utf-8").splitlines() if line]
    assert len(lines) <= 3


MAY_OPEN = {
    "adapter/small_files.py": {"open_regular", "read_small", "append_to", "new_file", "write_new"},
    # Files that were just made, in folders that were just made, or descriptors from small.py.
    "adapter/files.py": {
        "write_synced",
        "sync_folder",
        "remove_tree",
        "_remove_below",
        "_copy_file",
        "send",
        "_read_file",
        "file_state",
    },
    "storage/pipeline.py": None,
    "jobs/order.py": None,
    "dispatch/queries.py": {"log"},
    "storage/age_identity.py": {"_require_file", "_opens"},
    "preflight/account.py": {"write"},
    # The kernel's own files, locks, and the server's files that are locked.
    "adapter/linux.py": {"sync_file_system", "is_fixed", "mount_points"},
    "store/journal.py": None,
    "adapter/server/holders.py": {"_lock_on", "_read"},
    "adapter/resources.py": None,
    "jobs/progress.py": {"_count"},
    "storage/standby.py": None,
    "verify/server_faults.py": {"_head", "_equal"},
    "adapter/server/definitions.py": {"definition"},
    "restore/swap.py": None,
}
OPENING = {"open", "read_bytes", "read_text", "write_bytes", "write_text"}


def opened(tree: ast.AST, function: str = "") -> Iterator[tuple[str, int, str]]:
    """Yield the function, the line and the name of each call that opens a file by a bare name."""
    for node in ast.iter_child_nodes(tree):
        inner = node.name if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in OPENING:
                yield function, node.lineno, name
        yield from opened(node, inner)


def test_small_files_are_read_and_written_by_small_py_alone() -> None:
    package = CHECKOUT / "dbcalm_mariadb_cmd"
    found = []
    for file in package.rglob("*.py"):
        name = str(file.relative_to(package))
        allowed = MAY_OPEN.get(name, set())
        for function, line, call in opened(ast.parse(file.read_text(encoding="utf-8"))):
            if allowed is not None and function not in allowed:
                found.append(f"{name}:{line}: {function}() calls {call}")
    assert not found, (
        "use dbcalm_mariadb_cmd.adapter.small_files: a pipe in a file's place must keep nobody waiting"
    )
