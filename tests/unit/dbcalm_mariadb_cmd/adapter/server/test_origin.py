"""Where a server's files really are, and with which settings its data is written: taken from what it answers."""

from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.server import origin
from dbcalm_mariadb_cmd.adapter.server.asking import Answer, Error
from dbcalm_mariadb_cmd.store.timeline import changed

SYSTEM = ("innodb_system", "ibdata1")
UNKNOWN = Answer(error=Error(1109, "Unknown table"))
OFF = {"innodb_encrypt_tables": "OFF", "innodb_encrypt_log": "OFF"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Give a data directory, with another folder beside it and one in it."""
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "shop").mkdir()
    (tmp_path / "disk2").mkdir()
    (folder / "ibdata1").write_text("")
    return folder


def variables(data: Path) -> dict[str, str]:
    return {"datadir": str(data), "version": "10.11.19-MariaDB", "innodb_page_size": "4096"}


def found(
    data: Path, *tablespaces: tuple[str, str], links: dict[str, str] | None = None, **variables: str
) -> dict[str, str]:
    """Return what is elsewhere on a server with these variables and tablespaces, with {} for the folder above."""
    known = {name: value.format(data.parent) for name, value in variables.items()}
    told = {
        "tablespaces": Answer((SYSTEM, *((name, file.format(data.parent)) for name, file in tablespaces)))
    }
    there = origin.elsewhere(data, known, told, links or {})
    return {name: path.replace(str(data.parent), "{}") for name, path in there.items()}


class TestElsewhere:
    @pytest.mark.parametrize(
        ("variables", "expected"),
        [
            pytest.param({}, {}, id="nothing is set"),
            pytest.param({"innodb_data_file_path": "ibdata1:12M:autoextend"}, {}, id="as it comes"),
            pytest.param({"innodb_data_file_path": "ibdata1:1G;ibdata2:1G:autoextend:max:9G"}, {}, id="two files"),
            pytest.param({"innodb_data_file_path": "ibdata1:1M;{}/data/ibdata2:1M"}, {}, id="absolute, but inside"),
            pytest.param(
                {"innodb_data_file_path": "ibdata1:1M;{}/disk2/ibdata2:1M:autoextend"},
                {"ibdata2": "{}/disk2/ibdata2"}, id="absolute",
            ),
            pytest.param({"innodb_data_file_path": "../disk2/a:1M"}, {"a": "{}/disk2/a"}, id="a path that leads out"),
            pytest.param({"innodb_data_file_path": "a:1M;sub/b:1M"}, {"b": "{}/data/sub/b"}, id="a folder inside"),
            pytest.param({"innodb_data_file_path": "a:1M;/dev/sdz:3Gnewraw"}, {"sdz": "/dev/sdz"}, id="newraw"),
            pytest.param({"innodb_data_file_path": "/dev/sdz9:3Graw"}, {"sdz9": "/dev/sdz9"}, id="raw"),
            pytest.param(
                {"innodb_data_home_dir": "{}/disk2", "innodb_data_file_path": "a:1M;b:1M"},
                {"innodb_data_home_dir": "{}/disk2"}, id="home",
            ),
            pytest.param({"innodb_data_home_dir": "{}/data/", "innodb_data_file_path": "a:1M"}, {}, id="home inside"),
            pytest.param(
                {"innodb_log_group_home_dir": "{}/disk2", "aria_log_dir_path": "../disk2/x"},
                {"innodb_log_group_home_dir": "{}/disk2", "aria_log_dir_path": "{}/disk2/x"}, id="logs",
            ),
            pytest.param({"rocksdb_datadir": "./#rocksdb", "rocksdb_wal_dir": ""}, {}, id="MyRocks as it comes"),
            pytest.param(
                {"rocksdb_datadir": "{}/disk2", "rocksdb_wal_dir": "{}/wal"},
                {"rocksdb_datadir": "{}/disk2", "rocksdb_wal_dir": "{}/wal"}, id="MyRocks",
            ),
            pytest.param({"innodb_undo_directory": "{}/disk2"}, {}, id="a folder for undo, with none in it"),
        ],
    )  # fmt: skip
    def test_by_variables(self, data: Path, variables: dict[str, str], expected: dict[str, str]) -> None:
        assert found(data, **variables) == expected

    @pytest.mark.parametrize(
        ("tablespace", "expected"),
        [
            (("shop/t", "./shop/t.ibd"), {}),
            (("shop/t", "{}/data/shop/t.ibd"), {}),
            (("shop/t", "{}/link/shop/t.ibd"), {}),
            (("shop/t", "NULL"), {}),
            (("sym/t", "./sym/t.ibd"), {}),
            (("innodb_temporary", "{}/disk2/ibtmp1"), {}),
            (("shop/t", "{}/disk2/shop/t.ibd"), {"shop/t.isl": "{}/disk2/shop/t.ibd"}),
            (("shop/t#P#a", "{}/disk2/shop/t#P#a.ibd"), {"shop/t#P#a.isl": "{}/disk2/shop/t#P#a.ibd"}),
            (("innodb_undo001", "{}/disk2/undo001"), {"innodb_undo_directory": "{}/disk2"}),
        ],
    )
    def test_by_tablespaces(self, data: Path, tablespace: tuple[str, str], expected: dict[str, str]) -> None:
        (data.parent / "link").symlink_to(data)
        (data / "sym").symlink_to(data.parent / "disk2")
        assert found(data, tablespace, innodb_undo_directory="{}/disk2") == expected

    def test_undo_is_believed_to_be_in_its_folder_where_the_server_does_not_list_it(self, data: Path) -> None:
        variables = {"innodb_undo_directory": "/undo"}
        before_10_6 = {
            "tablespaces": UNKNOWN,
            "datafiles": Answer((("5", "./shop/t.ibd"),)),
            "files": UNKNOWN,
        }
        for told in ({}, before_10_6):
            assert origin.elsewhere(data, variables, told, {}) == variables

    def test_by_links(self, data: Path) -> None:
        links = {"ibdata2": "/x/ibdata2", "undo001": "/x/undo001", "sym": "/x/sym", "shop/m.MYD": "/x/m.MYD"}
        assert found(data, links=links) == {"ibdata2": "/x/ibdata2", "undo001": "/x/undo001"}


def test_what_was_not_answered_is_not_known(data: Path) -> None:
    told = origin.of_server(dict.fromkeys(origin.WHEREABOUTS, UNKNOWN), variables(data), {})
    assert (told.settings, told.elsewhere, told.encrypts) == ({"innodb_page_size": "4096"}, {}, False)


class TestSettings:
    def test_a_password_is_never_one_of_them(self) -> None:
        name = origin.KEY_OF_THE_KEYS
        assert origin.settings({name: "tr0ub4dor"}) == {name: "a password"}
        assert origin.settings({name: "FILE:/etc/keys"}) == {name: "FILE:/etc/keys"}
        assert origin.settings({"hashicorp_key_management_token": "s.secret"}) == {}

    def test_a_plugin_that_keeps_keys_says_that_the_server_encrypts(self, data: Path) -> None:
        for plugin, kind, encrypts in (
            ("hashicorp_key_management", "ENCRYPTION", True), ("provider_lz4", "DAEMON", False),
        ):  # fmt: skip
            told = origin.of_server({"plugins": Answer(((plugin, kind),))}, variables(data), {})
            assert told.encrypts == encrypts
            assert told.settings == {origin.PLUGINS: plugin, "innodb_page_size": "4096"}

    @pytest.mark.parametrize(
        ("noted", "expected"),
        [
            ("innodb_page_size=4096\ninnodb_undo_tablespaces=1\n",
             {"innodb_page_size": "4096", "innodb_undo_tablespaces": "1", origin.PLUGINS: "", **OFF}),
            ("innodb_checksum_algorithm=crc32\ninnodb_data_file_path=ibdata1:12M\n", {origin.PLUGINS: "", **OFF}),
            ("plugin_load=provider_lz4=provider_lz4;File_Key_Management=file_key_management\ninnodb_encrypt_log=1\n"
             "innodb_encrypt_tables=FORCE\nfile_key_management_filename=/k\nfile_key_management_filekey=secret\n",
             {origin.PLUGINS: "file_key_management,provider_lz4", "innodb_encrypt_log": "ON",
              "innodb_encrypt_tables": "FORCE", "file_key_management_filename": "/k",
              "file_key_management_filekey": "a password"}),
        ],
    )  # fmt: skip
    def test_that_the_tool_has_noted(self, tmp_path: Path, noted: str, expected: dict[str, str]) -> None:
        (tmp_path / "backup-my.cnf").write_text(f"# comment\n\n[mysqld]\n{noted}")
        assert origin.noted_settings(tmp_path) == expected

    def test_that_nobody_has_noted(self, tmp_path: Path) -> None:
        assert origin.noted_settings(tmp_path) is None

    def test_that_differ_are_named_with_both_values(self) -> None:
        then = {"a": "1", "b": "", "gone": "x"}
        assert changed(then, {**then, "new": "y"}, "full") is None
        assert changed(then, {"a": "1"}, "full") is None
        told = changed(then, {"a": "2", "b": "z"}, "full")
        assert told == "a was 1 when full was made and is 2; b was empty when full was made and is z"
