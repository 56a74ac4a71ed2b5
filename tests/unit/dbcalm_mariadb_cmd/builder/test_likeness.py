"""What a server of our own takes over from another: only what stands in the list, and only in the form that it has."""

import pytest

from dbcalm_mariadb_cmd.adapter.server.running import Ways, as_noted
from dbcalm_mariadb_cmd.builder.likeness import KEY_PLUGIN, keys_of, options


def test_known_settings_and_plugins_are_taken_over() -> None:
    settings = {"lower_case_table_names": "1", "sql_mode": "STRICT_TRANS_TABLES,ANSI_QUOTES", "datadir": "/x"}
    plugins = ["provider_lz4.so", "ha_archive.so", "server_audit.so", "handlersocket.so", "ha_spider.so"]
    assert options(settings, plugins, "/usr/lib/plugin dir/") == [
        "--lower-case-table-names=1",
        "--sql-mode=STRICT_TRANS_TABLES,ANSI_QUOTES",
        "--plugin-dir=/usr/lib/plugin dir/",
        "--plugin-maturity=unknown",
        "--plugin-load-add=ha_archive.so",
        "--plugin-load-add=provider_lz4.so",
    ]
    assert options({}, [], "/usr/lib/plugin") == []
    assert options({}, ["provider_lz4.so"], "") == [
        "--plugin-maturity=unknown",
        "--plugin-load-add=provider_lz4.so",
    ]


@pytest.mark.parametrize("value", ["3", "1 --user=root", "1\n", "", "-1"])
def test_a_value_of_another_form_is_left_out(value: str) -> None:
    assert options({"lower_case_table_names": value}, [], "") == []


@pytest.mark.parametrize(
    "name", ["../../tmp/ha_archive.so", "/tmp/ha_archive.so", "ha_archive.so;evil.so", "evil.so"]
)
def test_no_other_plugin_is_loaded(name: str) -> None:
    assert options({}, [name], "/tmp") == []


@pytest.mark.parametrize("folder", ["relative", "/a\nb"])
def test_a_folder_that_is_none_is_left_out(folder: str) -> None:
    assert "--plugin-dir" not in " ".join(options({}, ["ha_archive.so"], folder))


def test_keys_are_taken_from_a_file_and_no_password_is_passed_on() -> None:
    file = {"file_key_management_filename": "/etc/keys", "file_key_management_filekey": "FILE:/etc/secret"}
    keys = [
        "--loose-file-key-management-filename=/etc/keys",
        "--loose-file-key-management-filekey=FILE:/etc/secret",
    ]
    assert keys_of(file, [KEY_PLUGIN]) == keys
    assert options(file, [KEY_PLUGIN], "/p")[-3:] == ["--plugin-load-add=file_key_management.so", *keys]
    assert keys_of(file, []) == []
    assert keys_of({**file, "file_key_management_filekey": "a password"}, [KEY_PLUGIN]) == []
    assert keys_of({**file, "file_key_management_filename": ""}, [KEY_PLUGIN]) == []
    assert keys_of({**file, "file_key_management_digest": "sha1 --user=root"}, [KEY_PLUGIN]) == []


def test_what_was_noted_with_the_backup_goes_before_what_the_server_is_now() -> None:
    found = Ways({"lower_case_table_names": "0", "sql_mode": ""}, frozenset({"ha_archive.so"}), "/p")
    noted = {
        "lower_case_table_names": "1", "plugins": "file_key_management,provider_lz4",
        "file_key_management_filename": "/elsewhere",
    }  # fmt: skip
    assert as_noted(found, {}) == found
    assert as_noted(found, noted) == Ways(
        {"lower_case_table_names": "1", "sql_mode": ""}, frozenset({"ha_archive.so", "provider_lz4.so"}), "/p"
    )
