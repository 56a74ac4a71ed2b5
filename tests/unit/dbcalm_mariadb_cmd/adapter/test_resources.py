"""What the host can bear: smaller settings where there is little, a refusal where there is too little."""

import os
import resource
import shutil
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter import resources
from dbcalm_mariadb_cmd.builder.argv import Effort
from dbcalm_mariadb_cmd.builder.storage_format import Storing
from dbcalm_mariadb_cmd.errors import Refused

MB = 1_000_000
MIB = 1 << 20
FOLDER, GZIP = Storing(), Storing("gzip", 6)
ZSTD = Storing("zstd", 1, 2)
ZSTD_19 = Storing("zstd", 19, 2)


def refusal(available: int, how: Storing = FOLDER) -> str:
    with pytest.raises(Refused) as caught:
        resources.for_backup(Effort(parallel=4), how, available)
    assert caught.value.code == 503
    return str(caught.value)


@pytest.mark.parametrize("how", [FOLDER, GZIP, ZSTD, ZSTD_19])
@pytest.mark.parametrize("available", [None, 1000 * MB, 10**15])
def test_where_there_is_enough_nothing_changes(how: Storing, available: int | None) -> None:
    effort = Effort(parallel=4, prepare_memory=512 * MIB)
    assert resources.for_backup(effort, how, available) == (effort, how, None)
    assert resources.for_restore(effort, available) == (effort, None)


def test_a_backup_takes_fewer_threads_where_there_is_little() -> None:
    effort, how, said = resources.for_backup(Effort(parallel=4), ZSTD, 142 * MB)
    assert (effort.parallel, how.threads) == (2, 1)
    assert said == (
        "with 2 instead of 4 threads to copy and with 1 instead of 2 threads to pack: 142.0 MB of memory are free"
    )
    effort, how, said = resources.for_backup(Effort(parallel=4), ZSTD_19, 350 * MB)
    assert (effort.parallel, how.threads) == (4, 1)
    assert said == "with 1 instead of 2 threads to pack: 350.0 MB of memory are free"
    effort, how, said = resources.for_backup(Effort(parallel=4), FOLDER, 100 * MB)
    assert (effort.parallel, how) == (3, FOLDER)
    assert said == "with 3 instead of 4 threads to copy: 100.0 MB of memory are free"


def test_the_cores_decide_how_many_threads_pack_where_nobody_says() -> None:
    by_cores = Storing("zstd", 19, 0)
    cores = len(os.sched_getaffinity(0))
    _, how, said = resources.for_backup(Effort(parallel=1), by_cores, 310 * MB)
    assert (how.threads, said is None) == ((1, False) if cores > 1 else (0, True))


@pytest.mark.parametrize(("how", "needed"), [(FOLDER, 80), (GZIP, 108), (ZSTD, 124), (ZSTD_19, 305)])
def test_a_backup_that_cannot_do_with_so_little_is_refused(how: Storing, needed: int) -> None:
    effort, _, _ = resources.for_backup(Effort(parallel=4), how, needed * MB)
    assert effort.parallel == 1
    assert refusal(needed * MB - 1, how) == (
        f"a backup needs about {needed}.0 MB of memory, and {needed}.0 MB are free; "
        "stop something else on this host, or give it more"
    )


def test_a_prepare_takes_what_there_is_and_no_less_than_it_needs() -> None:
    effort, said = resources.for_restore(Effort(prepare_memory=1024 * MIB), 300 * MB)
    assert effort.prepare_memory == 219 * MIB
    assert said == "prepared with 219 MiB instead of 1024 MiB of memory: 300.0 MB are free"
    effort, said = resources.for_restore(Effort(), 160 * MB)
    assert (effort.prepare_memory, said) == (
        85 * MIB,
        "prepared with 85 MiB instead of 100 MiB of memory: 160.0 MB are free",
    )
    with pytest.raises(Refused, match="a restore needs about 137.1 MB of memory, and 137.0 MB are free"):
        resources.for_restore(Effort(prepare_memory=1024 * MIB), 137 * MB)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Make the files of a host with 4 GiB in two nodes and of a service in a group of groups, none of them limited."""
    for node in range(2):
        folder = tmp_path / f"sys/devices/system/node/node{node}"
        folder.mkdir(parents=True)
        lines = {
            "MemTotal": 2097152, "MemFree": 512000, "Active(file)": 204800, "Inactive(file)": 307200,
            "SReclaimable": 20480,
        }  # fmt: skip
        text = "".join(f"Node {node} {name}: {kib:10} kB\n" for name, kib in lines.items())
        (folder / "meminfo").write_text(f"{text}Node {node} HugePages_Total:     0\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/dbcalm-mariadb-cmd.service\n")
    group = tmp_path / "sys/fs/cgroup/system.slice/dbcalm-mariadb-cmd.service"
    group.mkdir(parents=True)
    for folder in (group.parent, group):
        limit(folder)
    return tmp_path


def limit(group: Path, most: str = "max", high: str = "max", current: int = 100 * MIB) -> None:
    (group / "memory.max").write_text(f"{most}\n")
    (group / "memory.high").write_text(f"{high}\n")
    (group / "memory.current").write_text(f"{current}\n")
    (group / "memory.stat").write_text(f"anon {10 * MIB}\ninactive_file {40 * MIB}\nactive_file {20 * MIB}\n")


ON_THE_HOST = 2 * (512000 + 102400 + 307200 + 10240) << 10


def test_memory_of_the_host(root: Path) -> None:
    assert resources.available_memory(root) == ON_THE_HOST
    (root / "proc/self/cgroup").unlink()
    assert resources.available_memory(root) == ON_THE_HOST


@pytest.mark.parametrize("above", [False, True])
@pytest.mark.parametrize(
    ("most", "high"), [("209715200", "max"), ("max", "209715200"), ("400000000", "209715200")]
)
def test_memory_of_a_group_with_a_limit(root: Path, most: str, high: str, above: bool) -> None:
    group = root / "sys/fs/cgroup/system.slice/dbcalm-mariadb-cmd.service"
    limit(group.parent if above else group, most, high)
    assert resources.available_memory(root) == (200 - 100 + 40 + 10) * MIB
    limit(group, "52428800", current=120 * MIB)
    assert resources.available_memory(root) == 0


def test_memory_that_cannot_be_seen(root: Path) -> None:
    shutil.rmtree(root / "sys")
    assert resources.available_memory(root) is None


def test_memory_of_this_host_is_to_be_seen_and_near_what_the_kernel_says() -> None:
    """Within a quarter: the kernel's own estimate leaves out what must stay free."""
    found = resources.available_memory()
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    said = int(lines["MemAvailable"].split()[0]) << 10
    assert found is not None
    assert found <= 1.25 * said


def test_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (64, 1000))
    resources.require_open_files(800, "a backup")
    with pytest.raises(Refused) as caught:
        resources.require_open_files(801, "a backup")
    assert caught.value.code == 503
    assert str(caught.value) == (
        "a backup opens about 1001 files at once, and this service may open 1000; set LimitNOFILE=2002 with: "
        "systemctl edit dbcalm-mariadb-cmd, and restart it"
    )
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (64, resource.RLIM_INFINITY))
    resources.require_open_files(10**9, "a backup")
