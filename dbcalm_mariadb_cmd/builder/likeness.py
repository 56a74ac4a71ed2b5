"""What a server of our own needs to read another's data as that reads it: its plugins, and settings that change what a
name or a value means. Pure functions from what is known of that server to options.

What a server says of itself may come from a backup's manifest. So it chooses only among what stands here: no other
plugin is loaded, no value of another form is passed on, and the folder of the plugins is that of the running server.
"""

import re
from collections.abc import Collection, Mapping

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

KEY_FILE, KEY_OF_THE_KEYS = "file_key_management_filename", "file_key_management_filekey"
KEY_SETTINGS = {
    KEY_FILE: r"/[^\0\n]*",
    KEY_OF_THE_KEYS: r"(?:FILE:/[^\0\n]*)?",
    "file_key_management_encryption_algorithm": r"\w+",
    "file_key_management_digest": r"\w+",
    "file_key_management_use_pbkdf2": _NUMBER,
}
"""Settings of the plugin that has a server's keys, for as long as it runs and says what they are. A password of the key
file that stands in the options itself is passed on to nobody."""

KEY_PLUGIN = "file_key_management.so"
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


def options(settings: Mapping[str, str], plugins: Collection[str], plugin_dir: str) -> list[str]:
    """Return the options that make a server of our own like one of these settings and loaded plugins; ``plugin_dir`` is
    where that has them, "" for the program's own place."""
    taken = [
        f"--{name.replace('_', '-')}={settings[name]}"
        for name, form in SETTINGS.items()
        if name in settings and re.fullmatch(form, settings[name])
    ]
    loaded = sorted(PLUGINS.intersection(plugins))
    keys = keys_of(settings, plugins)
    loaded += [KEY_PLUGIN] if keys else []
    if not loaded:
        return taken
    # One that cannot be loaded is missed by the tables that need it, and by nobody else.
    where = [f"--plugin-dir={plugin_dir}"] if _FOLDER.fullmatch(plugin_dir) else []
    named = [f"--plugin-load-add={name}" for name in loaded]
    return [*taken, *where, "--plugin-maturity=unknown", *named, *keys]


def keys_of(settings: Mapping[str, str], plugins: Collection[str]) -> list[str]:
    """Return the options that give a server of our own the keys of one of these settings; [] where it has none in a
    file, or where their file cannot be opened with these."""
    fits = all(
        re.fullmatch(form, settings.get(name, "")) for name, form in KEY_SETTINGS.items() if name in settings
    )
    if KEY_PLUGIN not in plugins or not settings.get(KEY_FILE) or not fits:
        return []
    return [
        f"--loose-{name.replace('_', '-')}={settings[name]}" for name in KEY_SETTINGS if settings.get(name)
    ]
