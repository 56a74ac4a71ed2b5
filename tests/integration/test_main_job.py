"""Back up, back up again, and bring it back: every point, to both targets, as often as one likes."""

import stat
from pathlib import Path

import pytest

from tests.integration.conftest import Rig

pytestmark = pytest.mark.integration


def test_every_point_of_a_chain_comes_back_twice_to_both_targets(rig: Rig) -> None:
    points = {}
    base = None
    for number in range(3):
        rig.change()
        order = {"type": "incremental", "from_backup_id": base} if base else {"type": "full"}
        base = rig.backup(id=f"chain-{number}", **order)["resource_id"]
        points[base] = rig.tables()
    stored = {backup_id: rig.stored(backup_id) for backup_id in points}
    for backup_id, expected in points.items():
        for _ in range(2):
            assert rig.tables_of(rig.restore(backup_id, "folder")) == expected
            rig.put_back(backup_id)
            assert rig.tables() == expected
    assert {backup_id: rig.stored(backup_id) for backup_id in points} == stored
    assert rig.leftovers() == []


def test_a_backup_says_what_it_is(rig: Rig) -> None:
    accepted = rig.start("/backups", {"type": "full", "id": "Facts Of_it"})
    assert accepted["status"] == "running"
    assert accepted["link"] == f"/status/{accepted['pid']}"
    assert accepted["resource_id"] == "facts-of-it"
    [process] = rig.api.call("GET", f"/processes?query=command_id|{accepted['pid']}")["items"]
    assert process["type"] == "backup"
    rig.end(accepted)
    rig.change()
    rig.backup(type="incremental", from_backup_id="facts-of-it", id="facts-inc")
    full, inc = (rig.api.call("GET", f"/backups/{name}") for name in ("facts-of-it", "facts-inc"))
    assert (full["type"], full["from_backup_id"]) == ("full", None)
    assert (inc["type"], inc["from_backup_id"]) == ("incremental", "facts-of-it")
    assert inc["timeline"] == full["timeline"]
    assert full["start_time"] < full["end_time"] <= inc["start_time"]
    size = sum(path.stat().st_size for path in (rig.backups / "facts-of-it").rglob("*") if path.is_file())
    assert 0 <= size - full["size"] < 200_000  # The manifest and the list of files are not the backup's own.
    [process] = rig.api.call("GET", f"/processes?query=id|{full['process_id']}")["items"]
    assert (process["status"], process["return_code"], process["error"]) == ("success", 0, None)
    assert "completed OK!" in process["output"]
    secret = rig.sandbox.layout.credentials.read_text().split("password=")[1].split()[0]
    assert secret not in str(process)


def test_an_incremental_builds_on_the_newest_backup(rig: Rig) -> None:
    newest = rig.backup()["resource_id"]
    status = rig.backup(type="incremental")
    assert rig.api.call("GET", f"/backups/{status['resource_id']}")["from_backup_id"] == newest


def test_two_backups_within_one_second_get_two_names(rig: Rig) -> None:
    names = [rig.backup(type="incremental")["resource_id"] for _ in range(6)]
    assert len(set(names)) == len(names)
    assert all((rig.backups / name).is_dir() for name in names)


def test_restored_data_belongs_to_the_server(rig: Rig) -> None:
    backup_id = rig.backup()["resource_id"]
    owner = rig.data.stat().st_uid
    folder = rig.restore(backup_id, "folder")
    rig.put_back(backup_id)
    for top in (folder, rig.data):
        for path in [top, *top.rglob("*")]:
            status = path.lstat()
            assert status.st_uid == owner, path
            assert stat.S_IMODE(status.st_mode) & 0o007 == 0, path


def test_a_deleted_backup_is_gone_and_its_base_can_follow(rig: Rig) -> None:
    rig.backup()  # The last whole chain could not be deleted.
    base = rig.backup()["resource_id"]
    top = rig.backup(type="incremental", from_backup_id=base)["resource_id"]
    status, line = rig.refused("DELETE", f"/backups/{base}")
    assert status == 409
    assert top in line
    for backup_id in (top, base):
        assert rig.api.request("DELETE", f"/backups/{backup_id}").status == 204
        assert rig.refused("GET", f"/backups/{backup_id}")[0] == 404
        assert not (rig.backups / backup_id).exists()


def test_no_secret_is_readable_by_others(rig: Rig) -> None:
    layout = rig.sandbox.layout
    secrets = [layout.credentials, layout.private_key, layout.token_key, Path(rig.sandbox.root / "state")]
    assert [path for path in secrets if stat.S_IMODE(path.stat().st_mode) & 0o007] == []
