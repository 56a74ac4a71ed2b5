"""What a server of our own needs to read another's data as that reads it: its plugins, and settings that change what a
name or a value means. Pure functions from what is known of that server to options.

What a server says of itself may come from a backup's manifest. So it chooses only among what stands here: no other
plugin is loaded, no value of another form is passed on, and the folder of the plugins is that of the running server.
"""

import re
from collections.abc import Iterable, Mapping

_WORDS, _NUMBER = r"[A-Za-z0-9_,]*", r"\d{1,10}"

SETTINGS = {
    "lower_case_table_names": r"[012]",
    "sql_mode": _WORDS,
    "old_mode": _WORDS,
    "character_set_server": r"\w+",
    "collation_server": r"\w+",
    "div_precision_increment": _NUMBER,
    "group_concat_max_len": _NUMBER,
    "aria_block_size": _NUMBER,
}
"""Settings that are taken over, each with the form of its values."""

PLUGIN_DIR = "plugin_dir"

PLUGINS = frozenset(
    f"{name}.so"
    for name in (
        "ha_archive",
        "ha_blackhole",
        "ha_mroonga",
        "ha_oqgraph",
        "ha_rocksdb",
        "provider_bzip2",
        "provider_lz4",
        "provider_lzma",
        "provider_lzo",
        "provider_snappy",
        "type_inet",
        "type_mysql_json",
        "type_mysql_timestamp",
        "type_uuid",
    )
)
"""Plugins without which tables cannot be read that lie in the backup. An engine whose data lies elsewhere, as those of
SPIDER, FEDERATED, CONNECT and S3 do, is none of these: a proof asks nobody else."""

_FOLDER = re.compile(r"/[^\0\n]*")


def options(settings: Mapping[str, str], plugins: Iterable[str], plugin_dir: str) -> list[str]:
    """Return the options that make a server of our own like one of these settings and loaded plugins; ``plugin_dir`` is
    where that has them, "" for the program's own place."""
    taken = [
        f"--{name.replace('_', '-')}={settings[name]}"
        for name, form in SETTINGS.items()
        if name in settings and re.fullmatch(form, settings[name])
    ]
    loaded = sorted(PLUGINS.intersection(plugins))
    if not loaded:
        return taken
    # One that cannot be loaded is missed by the tables that need it, and by nobody else.
    where = [f"--plugin-dir={plugin_dir}"] if _FOLDER.fullmatch(plugin_dir) else []
    return [*taken, *where, "--plugin-maturity=unknown", *(f"--plugin-load-add={name}" for name in loaded)]
