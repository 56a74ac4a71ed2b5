"""What a server of our own takes over from another: only what stands in the list, and only in the form that it has."""

import pytest

from dbcalm_mariadb_cmd.likeness import options


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
