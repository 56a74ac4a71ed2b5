"""The units as files: systemd understands them and finds little to object to. tests/e2e tries what they allow."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
MOST_EXPOSED = {"dbcalm-api": 1.2, "dbcalm-cmd": 0.9, "dbcalm-mariadb-cmd": 0.7}

with_systemd = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


def settings(path: Path) -> dict[str, list[str]]:
    """Return the values that a unit gives to each key."""
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


@with_systemd
@pytest.mark.parametrize("name", MOST_EXPOSED)
def test_a_service_is_little_exposed(name: str) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNITS / f"{name}.service")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout
    [exposure] = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert float(exposure) <= MOST_EXPOSED[name], said


@with_systemd
def test_systemd_understands_every_word(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        text = unit.read_text(encoding="utf-8")
        # What does not come with the units is not looked for: the programs, the users, the pages.
        text = re.sub(r"^(Exec(?:Start|Reload)=).*$", r"\1/bin/true", text, flags=re.MULTILINE)
        text = re.sub(r"^(User|Group|SocketGroup)=.*$", r"\1=root", text, flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    ours = [line for line in done.stderr.splitlines() if "dbcalm" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.parametrize("name", MOST_EXPOSED)
def test_a_service_knows_its_callers_and_has_no_capability(name: str) -> None:
    found = settings(UNITS / f"{name}.service")
    assert "PrivateUsers" not in found  # With it every caller would be user 65534.
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == [""]
    assert found["Type"] == ["notify"]
    assert found["Restart"] == ["on-failure"]
    # Under ProtectSystem=strict, systemd 252 makes the paths of both keys writable.
    assert "ExecPaths" not in found
    assert "/" not in " ".join(found["NoExecPaths"]).split()


def test_a_job_is_spared_by_the_end_of_its_service() -> None:
    found = settings(UNITS / "dbcalm-mariadb-cmd.service")
    assert (found["KillMode"], found["OOMPolicy"]) == (["process"], ["continue"])
    assert (found["OOMScoreAdjust"], found["LimitNOFILE"]) == (["500"], ["1024:524288"])


@pytest.mark.parametrize("name", ["dbcalm-api", "dbcalm-mariadb-cmd"])
def test_whoever_is_given_secrets_leaves_no_memory_on_disk(name: str) -> None:
    assert settings(UNITS / f"{name}.service")["LimitCORE"] == ["0"]


@pytest.mark.parametrize("name", ["cmd", "mariadb-cmd"])
def test_a_socket_is_roots_and_open_to_the_api(name: str) -> None:
    found = settings(UNITS / f"dbcalm-{name}.socket")
    assert found["ListenStream"] == [f"/run/dbcalm/{name}.sock"]
    assert [found[f"Socket{key}"] for key in ("User", "Group", "Mode")] == [["root"], ["dbcalm"], ["0660"]]
