"""What is in both packages, with which rights, and what is not."""

import gzip
import hashlib
import os
import re
import shlex
import subprocess
import tomllib
from dataclasses import fields
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml

from dbcalm_cmd.settings import Settings
from dbcalm_cmd.settings import load as load_orders
from dbcalm_mariadb_cmd.config.keys import KEYS
from dbcalm_mariadb_cmd.config.keys import load as load_configuration
from dbcalm_mariadb_cmd.config.settings import Settings as MysqlSettings
from dev import man
from dev.package_lib.documents import libraries
from dev.package_lib.release import CHECKOUT, release
from tests.binaries.test_as_built import read_elf
from tests.packages.conftest import Packed, said

pytestmark = pytest.mark.packages

PROGRAMS = ("dbcalm", "dbcalm-cmd", "dbcalm-mariadb-cmd")
UNITS = {path.name for path in (CHECKOUT / "packaging/systemd").iterdir()}
CONFIGURATION = {"/etc/dbcalm/config.yml", "/etc/dbcalm/cmd.toml", "/etc/logrotate.d/dbcalm"}
SCRIPTS = {"/usr/lib/dbcalm/first-keys", "/usr/lib/dbcalm/backup-user"}

EXPECTED = {
    *CONFIGURATION,
    *SCRIPTS,
    *(f"/usr/bin/{name}" for name in PROGRAMS),
    *(f"/usr/lib/dbcalm/{name}" for name in PROGRAMS),
    *(f"/usr/lib/systemd/system/{name}" for name in UNITS),
    "/usr/lib/sysusers.d/dbcalm.conf",
    "/usr/lib/tmpfiles.d/dbcalm.conf",
    *(f"/usr/share/man/man{name[-1]}/{name}.gz" for name in man.pages()),
    "/usr/share/bash-completion/completions/dbcalm",
    "/usr/share/fish/vendor_completions.d/dbcalm.fish",
    *(f"/usr/share/doc/dbcalm/{name}" for name in ("README.md", "SECURITY.md", "copyright", "changelog.gz")),
    *(f"/usr/share/doc/dbcalm/docs/{path.name}" for path in (CHECKOUT / "docs").iterdir()),
}
"""All that both packages have beside the libraries of the programs and the licences."""

DEB_ONLY = {
    "/usr/share/zsh/vendor-completions/_dbcalm",
    "/usr/share/doc/dbcalm/changelog.Debian.gz",
    "/usr/share/lintian/overrides/dbcalm",
}
RPM_ONLY = {"/usr/share/zsh/site-functions/_dbcalm", "/usr/share/licenses/dbcalm/LICENSE"}
_MANY = ("/usr/lib/dbcalm/_internal/", "/usr/share/doc/dbcalm/licenses/")


def few(packed: dict[str, Packed]) -> set[str]:
    """Return the paths that are no folders, and neither libraries nor licences."""
    return {path for path, entry in packed.items() if not entry.is_folder and not path.startswith(_MANY)}


def test_a_package_has_what_it_should_and_no_more(
    in_deb: dict[str, Packed], in_rpm: dict[str, Packed]
) -> None:
    assert few(in_deb) == EXPECTED | DEB_ONLY
    assert few(in_rpm) == EXPECTED | RPM_ONLY
    many = {path for path in in_deb if path.startswith(_MANY)}
    assert many == {path for path in in_rpm if path.startswith(_MANY)}
    assert len(many) > 100


@pytest.mark.parametrize("kind", ["in_deb", "in_rpm"])
def test_all_of_it_is_roots_and_for_everybody_to_read(kind: str, request: pytest.FixtureRequest) -> None:
    packed: dict[str, Packed] = request.getfixturevalue(kind)
    run = SCRIPTS | {f"/usr/lib/dbcalm/{name}" for name in PROGRAMS}
    for path, entry in packed.items():
        assert entry.owner == "root/root", path
        expected = 0o755 if path in run or entry.is_folder else 0o644
        assert entry.mode == (0o777 if entry.link else expected), path


def test_both_have_the_same_files(in_rpm: dict[str, Packed], unpacked: Path) -> None:
    for path, entry in in_rpm.items():
        file = unpacked / path[1:]
        if file.is_file() and not file.is_symlink():
            assert entry.digest == hashlib.sha256(file.read_bytes()).hexdigest().strip("0"), path


def test_an_administrators_changes_are_kept(unpacked: Path, rpm: Path) -> None:
    assert set((unpacked / "DEBIAN/conffiles").read_text().split()) == CONFIGURATION
    assert set(said("rpm", "--query", "--package", "--configfiles", rpm).split()) == CONFIGURATION


def test_each_file_has_its_sum(unpacked: Path) -> None:
    listed = (unpacked / "DEBIAN/md5sums").read_text().splitlines()
    done = subprocess.run(
        ["md5sum", "--check", "--quiet"], cwd=unpacked, input="\n".join(listed), text=True, check=False
    )
    assert done.returncode == 0
    names = {f"/{line.partition('  ')[2]}" for line in listed}
    files = {
        f"/{path.relative_to(unpacked)}"
        for path in unpacked.rglob("*")
        if path.is_file() and not path.is_symlink() and "DEBIAN" not in path.parts
    }
    assert names == files - CONFIGURATION


def contents(path: Path) -> bytes:
    """Return what is in a file, unpacked."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_nothing_of_the_builder_and_no_secret_is_in_it(unpacked: Path) -> None:
    home = Path.home()  # That of root stands in programs of any builder.
    for path in unpacked.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert path.suffix not in (".pem", ".key", ".cnf")
            found = contents(path)
            assert os.fsencode(CHECKOUT) not in found, path
            assert os.fsencode(home) + b"/" not in found or home == Path("/root"), path
            assert not re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/]", found), path


def test_libraries_are_looked_for_nowhere_else(unpacked: Path) -> None:
    for path, read in read_elf(unpacked, "--dynamic"):
        assert not {"(RUNPATH)", "(RPATH)"} & set(read.split()), path


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_link_leads_to_its_program(in_deb: dict[str, Packed], unpacked: Path, name: str) -> None:
    assert in_deb[f"/usr/bin/{name}"].link == f"../lib/dbcalm/{name}"
    assert os.access(unpacked / "usr/bin" / name, os.X_OK)


def test_a_program_runs_through_its_link(unpacked: Path) -> None:
    assert said(unpacked / "usr/bin/dbcalm", "--version").startswith("dbcalm ")


@pytest.mark.parametrize("name", sorted(name for name in UNITS if name.endswith(".service")))
def test_a_unit_starts_a_program_that_is_there(in_deb: dict[str, Packed], name: str) -> None:
    text = (CHECKOUT / "packaging/systemd" / name).read_text()
    [program] = re.findall(r"^ExecStart=(\S+)", text, re.MULTILINE)
    assert program in in_deb


def test_the_configuration_says_the_defaults(unpacked: Path, tmp_path: Path) -> None:
    shipped = unpacked / "etc/dbcalm/config.yml"
    told = re.findall(r"^#([a-z_]+): (.*)$", shipped.read_text(), re.MULTILINE)
    assert {name: yaml.safe_load(value) for name, value in told} == {
        name: key.default for name, key in KEYS.items()
    }
    (tmp_path / "all.yml").write_text("\n".join(f"{name}: {value}" for name, value in told))
    (tmp_path / "none.yml").write_text("")
    none = load_configuration(MysqlSettings, tmp_path / "none.yml")
    assert load_configuration(MysqlSettings, shipped) == none
    assert load_configuration(MysqlSettings, tmp_path / "all.yml") == none


def test_the_root_services_configuration_says_the_defaults(unpacked: Path, tmp_path: Path) -> None:
    text = (unpacked / "etc/dbcalm/cmd.toml").read_text()
    told = re.findall(r"^#([a-z_]+ = .*)$", text, re.MULTILINE)
    assert [line.partition(" ")[0] for line in told] == [field.name for field in fields(Settings)]
    for name, lines in (("all.toml", told), ("as-shipped.toml", [text])):
        file = tmp_path / name
        file.write_text("\n".join(lines))
        file.chmod(0o644)
        assert load_orders(file) == Settings()


def control(package: Path) -> dict[str, str]:
    """Return the fields of a Debian package."""
    found = re.findall(r"^([A-Z][A-Za-z-]+): (.*)$", said("dpkg-deb", "--field", package), re.MULTILINE)
    return dict(found)


def test_it_depends_on_what_it_needs(deb: Path) -> None:
    found = control(deb)
    assert found["Depends"].split(", ") == [
        "libc6 (>= 2.35)", "libexpat1", "mariadb-backup | percona-xtrabackup-84 | percona-xtrabackup-80",
        "cron | cron-daemon", "openssl", "zstd", "systemd | systemd-standalone-sysusers",
        "systemd | systemd-standalone-tmpfiles",
    ]  # fmt: skip
    assert (found["Recommends"], found["Suggests"]) == ("age", "mariadb-server")
    assert found["Version"] == f"{release().version}-1"
    assert found["Architecture"] == said("dpkg", "--print-architecture").strip()


def test_the_rpm_depends_on_the_same(rpm: Path) -> None:
    def names(what: str) -> set[str]:
        listed = said("rpm", "--query", "--package", f"--{what}", rpm).splitlines()
        return {line for line in listed if not line.startswith(("rpmlib(", "/bin/sh"))}

    tools = "(mariadb-backup or MariaDB-backup or percona-xtrabackup-84 or percona-xtrabackup-80)"
    assert names("requires") == {"glibc >= 2.35", "expat", tools, "cronie", "openssl", "zstd", "systemd"}
    assert (names("recommends"), names("suggests")) == ({"age"}, {"mariadb-server"})


def test_every_library_has_its_licence(unpacked: Path) -> None:
    documents = unpacked / "usr/share/doc/dbcalm"
    stated = (documents / "copyright").read_text()
    paragraphs = [
        dict(re.findall(r"^([A-Z][A-Za-z-]+): ?((?:.*)(?:\n .*)*)", text, re.MULTILINE))
        for text in stated.strip().split("\n\n")
    ]
    assert paragraphs[0]["Format"].endswith("/copyright-format/1.0/")
    assert all({"Files", "Copyright", "License"} <= set(paragraph) for paragraph in paragraphs[1:])
    said_of = " ".join(paragraph["Files"] for paragraph in paragraphs[1:])
    for name in ("bcrypt", "fastapi", "pydantic", "pyyaml", "sqlmodel", "typer", "uvicorn", "pyinstaller"):
        assert f"{name}-{distribution(name).version}/*".lower() in said_of.lower(), name
    for library in libraries():
        assert (documents / "licenses" / library.name).read_text() == library.text
    of_python = ("bcrypt", "pydantic_core", "sqlalchemy", "yaml")
    for path in (unpacked / "usr/lib/dbcalm/_internal").rglob("*.so*"):
        if not set(of_python) & set(path.parts):
            assert str(path.relative_to(unpacked)) in said_of
    for text in documents.glob("licenses/*"):
        assert text.stat().st_size > 100


def test_the_changelog_is_of_this_version(unpacked: Path) -> None:
    text = contents(unpacked / "usr/share/doc/dbcalm/changelog.Debian.gz").decode()
    assert text.startswith(f"dbcalm ({release().version}-1) unstable; urgency=")
    assert re.search(r"^  \* Full and incremental backups of a running MariaDB", text, re.MULTILINE)
    assert (
        contents(unpacked / "usr/share/doc/dbcalm/changelog.gz") == (CHECKOUT / "CHANGELOG.md").read_bytes()
    )


def test_a_shell_completes_with_what_is_installed(unpacked: Path) -> None:
    script = unpacked / "usr/share/bash-completion/completions/dbcalm"
    asked = (
        f"source {shlex.quote(str(script))}; COMP_WORDS=(dbcalm rest) COMP_CWORD=1; _dbcalm_completion dbcalm; "
        'printf "%s " "${COMPREPLY[@]}"'
    )
    environment = {"PATH": f"{unpacked}/usr/bin:{os.environ['PATH']}"}
    done: Any = subprocess.run(
        ["bash", "-c", asked], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["restore", "restores"]


def test_lintian_has_nothing_to_say(deb: Path) -> None:
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on=error,warning", deb],
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done


def test_rpmlint_has_nothing_to_say(rpm: Path) -> None:
    filters = CHECKOUT / "packaging/rpm/rpmlint.toml"
    done = subprocess.run(["rpmlint", "--config", filters, rpm], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert " 0 errors, 0 warnings," in done.stdout


def test_each_filter_of_a_linter_is_needed(deb: Path, rpm: Path) -> None:
    overrides = (CHECKOUT / "packaging/debian/lintian-overrides").read_text()
    command = ["lintian", "--allow-root", "--show-overrides", "--fail-on=none", deb]
    tags = said(*command)
    for name in re.findall(r"^dbcalm: ([a-z-]+)", overrides, re.MULTILINE):
        assert f"O: dbcalm: {name} " in tags
    complaints = subprocess.run(["rpmlint", rpm], check=False, capture_output=True, text=True).stdout
    for pattern in tomllib.loads((CHECKOUT / "packaging/rpm/rpmlint.toml").read_text())["Filters"]:
        assert re.search(pattern, complaints), pattern
