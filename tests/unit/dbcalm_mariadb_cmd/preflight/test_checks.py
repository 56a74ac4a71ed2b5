"""What is refused before a job begins: broken chains, full disks, missing credentials, servers in the wrong state."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.adapter.linux import birth_time
from dbcalm_mariadb_cmd.adapter.server import asking, facts
from dbcalm_mariadb_cmd.builder.argv import ENGINES, Binlog
from dbcalm_mariadb_cmd.command.origin import Origin
from dbcalm_mariadb_cmd.errors import Refused
from dbcalm_mariadb_cmd.preflight import checks as preflight
from tests.support.engine_lab import CANNOT_CONNECT, Client, Lab, manifest, server_in, shell

NO_CREDENTIALS = "credentials file not found or missing [client-dbcalm] section"


def refused(call: Callable[..., object], *arguments: object) -> tuple[int, str]:
    """Return the code and the sentence of a refusal."""
    with pytest.raises(Refused) as refusal:
        call(*arguments)
    assert "\n" not in str(refusal.value)
    return refusal.value.code, str(refusal.value)


class TestChain:
    @pytest.mark.parametrize("newest", ["full", "inc1", "inc2"])
    def test_is_found_from_any_link_the_full_first(self, lab: Lab, newest: str) -> None:
        chain = lab.chain()
        found = [link.id for link in preflight.chain_of(lab.backups, newest)]
        assert found == list(chain[: chain.index(newest) + 1])
        assert preflight.usable_chain(lab.backups, newest)[-1].id == newest

    def test_of_an_unknown_backup(self, lab: Lab) -> None:
        assert refused(preflight.chain_of, lab.backups, "nope") == (404, "there is no backup 'nope'")

    @pytest.mark.parametrize("gone", ["full", "inc1"])
    def test_without_a_link_names_it(self, lab: Lab, gone: str) -> None:
        lab.chain()
        shutil.rmtree(lab.backups / gone)
        code, sentence = refused(preflight.chain_of, lab.backups, "inc2")
        assert code == 404
        assert sentence.startswith(f"the chain of inc2 is broken: backup {gone} is gone")

    @pytest.mark.parametrize("damaged", ["full", "inc1", "inc2"])
    def test_with_a_damaged_link_names_it(self, lab: Lab, damaged: str) -> None:
        lab.chain()
        (lab.backups / damaged / "ibdata1").unlink()
        expected = (409, f"backup {damaged} is damaged: ibdata1 is missing")
        assert refused(preflight.chain_of, lab.backups, "inc2") == expected
        assert refused(preflight.usable_chain, lab.backups, "inc2") == expected

    def test_with_a_changed_link_is_no_base(self, lab: Lab) -> None:
        lab.chain()
        (lab.backups / "full/ibdata1").write_text("SYSTEM")
        assert preflight.chain_of(lab.backups, "inc2")
        expected = (409, "backup full is damaged: the checksum of ibdata1 differs")
        assert refused(preflight.usable_chain, lab.backups, "inc2") == expected

    def test_over_a_folder_that_is_not_ours(self, lab: Lab) -> None:
        (lab.backups / "theirs").mkdir()
        code, sentence = refused(preflight.chain_of, lab.backups, "theirs")
        assert (code, "it is not a backup that DBCalm made" in sentence) == (404, True)

    @pytest.mark.parametrize(
        ("link", "changes", "named"),
        [
            ("inc2", {"from_lsn": 2001}, "inc2 was not made on this inc1"),
            ("inc1", {"to_lsn": 1999}, "inc2 was not made on this inc1"),
            ("full", {"to_lsn": 999}, "inc1 was not made on this full"),
            ("full", {"seq": 2}, "inc1 was not made on this full"),
            ("full", {"seq": 9}, "inc1 was not made on this full"),
            ("full", {"from_backup_id": "inc2", "from_lsn": 3000}, "full was not made on this inc2"),
        ],
    )
    def test_whose_links_do_not_fit(
        self, lab: Lab, link: str, changes: dict[str, object], named: str
    ) -> None:
        lab.chain()
        lab.rewrite(link, **changes)
        assert refused(preflight.chain_of, lab.backups, "inc2") == (
            404,
            f"the chain of inc2 is broken: {named}",
        )

    def test_whose_link_is_its_own_base_is_damaged(self, lab: Lab) -> None:
        lab.chain()
        lab.rewrite("inc1", from_backup_id="inc1", from_lsn=2000)
        code, sentence = refused(preflight.chain_of, lab.backups, "inc2")
        assert (code, "from_backup_id must be the id of another backup" in sentence) == (409, True)

    def test_is_told_by_number_whatever_the_clock_did(self, lab: Lab) -> None:
        lab.chain()
        for year, link in ((2030, "full"), (2020, "inc1"), (2010, "inc2")):
            lab.rewrite(link, start_time=f"{year}-01-01T00:00:00.000000Z")
        assert len(preflight.chain_of(lab.backups, "inc2")) == 3


class TestSpace:
    def test_is_enough(self, lab: Lab) -> None:
        preflight.require_space(lab.backups, 1, "the backup")

    def test_is_too_little(self, lab: Lab) -> None:
        code, sentence = refused(preflight.require_space, lab.backups, 1 << 60, "the backup")
        assert code == 507
        assert sentence.startswith(f"disk full: the backup needs about 1152.9 PB in {lab.backups}, ")

    def test_keeps_a_reserve(self, tmp_path: Path, mount: Callable[[Path, int], Path]) -> None:
        small = mount(tmp_path / "small", 60 << 10)
        assert refused(preflight.require_space, small, 0, "the restore") == (
            507,
            f"disk full: the restore needs about 67.1 MB in {small}, 62.9 MB are free",
        )


class TestCredentials:
    def test_are_there(self, lab: Lab) -> None:
        facts.require_credentials(lab.credentials)

    @pytest.mark.parametrize(
        "section", ["[client-dbcalm]", "  [client-dbcalm]  ", "[mysqld]\n[client-dbcalm]"]
    )
    def test_section_may_stand_anywhere(self, lab: Lab, section: str) -> None:
        lab.credentials.write_text(f"# mine\n\n{section}\nuser=x\n")
        facts.require_credentials(lab.credentials)

    @pytest.mark.parametrize(
        "text",
        ["", "[client]\nuser=x\n", "#[client-dbcalm]\n", "client-dbcalm\n", "[client-dbcalm2]\n", "\xff\0"],
    )
    def test_without_the_section(self, lab: Lab, text: str) -> None:
        lab.credentials.write_text(text)
        assert refused(facts.require_credentials, lab.credentials) == (
            503,
            f"{NO_CREDENTIALS}: {lab.credentials}",
        )

    def test_without_the_file(self, lab: Lab) -> None:
        lab.credentials.unlink()
        expected = (503, f"{NO_CREDENTIALS}: {lab.credentials}: No such file or directory")
        assert refused(facts.require_credentials, lab.credentials) == expected

    def test_that_are_a_folder(self, lab: Lab) -> None:
        lab.credentials.unlink()
        lab.credentials.mkdir()
        assert refused(facts.require_credentials, lab.credentials)[1].startswith(NO_CREDENTIALS)

    @pytest.mark.parametrize("job", ["backup", "restore"])
    def test_are_asked_for_before_anything_else(self, lab: Lab, job: str) -> None:
        lab.credentials.unlink()
        settings = replace(lab.settings, backup_bin=Path("/none"))
        check = (preflight.ready_for_backup, (settings, None))
        if job == "restore":
            check = (preflight.ready_for_restore, (settings, [manifest()], "database", lab.data))  # type: ignore[assignment]
        assert NO_CREDENTIALS in refused(check[0], *check[1])[1]


REFUSED = (
    "Received error packet before completion of TLS handshake. The authenticity of the following error cannot be "
    "verified"
)
SILENCES = [
    ("ERROR 1040 (08004): Too many connections", "too many connections", None),
    (f"ERROR 2002 (HY000): {REFUSED}: 1040 - Too many connections", "too many connections", None),
    (
        "ERROR 1045 (28000): Access denied for user 'b'@'localhost' (using password: YES)",
        "Access denied",
        "login",
    ),
    ("ERROR 1698 (28000): Access denied for user 'b'@'localhost'", "dbcalm setup", "login"),
    ("ERROR 1862 (HY000): Your password has expired.", "has expired: run: dbcalm setup", "login"),
    ("ERROR 4151 (HY000): Access denied, this account is locked", "is locked: run: dbcalm setup", "login"),
    ("ERROR 3118 (HY000): Access denied. Account is locked.", "is locked: run: dbcalm setup", "login"),
    ("ERROR 1129 (HY000): Host 'localhost' is blocked", "FLUSH HOSTS", None),
    (f"ERROR 2002 (HY000): {REFUSED}: 1129 - Host 'localhost' is blocked", "FLUSH HOSTS", None),
    ("ERROR 1203 (42000): User b has more than 'max_user_connections'", "max_user_connections", None),
    ("ERROR 1053 (08S01): Server shutdown in progress", "is shutting down", None),
    ("ERROR 2005 (HY000): Unknown server host 'nosuch.invalid' (-2)", "is not known", None),
    ("ERROR 2026 (HY000): TLS/SSL error: SSL is required", "no encrypted connection", None),
    ("ERROR 2059 (HY000): Authentication plugin 'x' cannot be loaded", "cannot log in", None),
    (CANNOT_CONNECT.replace("(2)", "(13)"), "may not use the server's socket", None),
    (CANNOT_CONNECT.replace("(2)", "(11)"), "takes connections and says nothing", None),
    (
        "ERROR 2013 (HY000): Lost connection to server at 'handshake: reading initial communication packet', "
        "system error: 110",
        "takes connections and says nothing",
        None,
    ),
    ("ERROR 2003 (HY000): Can't connect to server on '10.0.0.1' (113)", "cannot be reached", None),
    ("ERROR 4242 (HY000): Something new", "does not let the user of", None),
]
"""What a client says that gets no answer, what is to be told of it, and what that is for ``dbcalm setup``."""

DENIED = "1227 Access denied; you need (at least one of) the {} privilege(s) for this"


@pytest.fixture
def client(lab: Lab) -> Client:
    return Client(lab)


def ready(client: Client) -> preflight.Ready:
    return preflight.ready_for_backup(client.settings(), None)


class TestReadyForBackup:
    def test_says_who_the_server_is(self, lab: Lab, client: Client) -> None:
        found = ready(client)
        ibdata = lab.server / "ibdata1"
        assert found.tool == lab.tool
        assert found.tool_version == "10.11.19"
        assert found.server.origin == Origin(
            version="10.11.19",
            data_dir=str(lab.server),
            ibdata=(ibdata.stat().st_ino, birth_time(ibdata)),
            server_uuid="",
            elsewhere={},
            settings={
                "innodb_data_home_dir": "",
                "innodb_data_file_path": "ibdata1:12M:autoextend",
                "innodb_undo_directory": "./",
                "innodb_log_group_home_dir": "./",
                "plugins": "",
            },
        )
        assert (found.server.lsn, found.server.gtid_at_base) == (9000, None)
        assert found.server.binlogs == {"bin.000003": 700, "bin.000004": 100}

    def test_counts_what_will_be_copied(self, lab: Lab, client: Client) -> None:
        before = ready(client).server.data_bytes
        for name in ("bin.000003", "ib_logfile0", "ibtmp1", "#sql-temptable-1.MAD"):
            (lab.server / name).write_bytes(b"x" * 1000)
        (lab.server / "#innodb_redo").mkdir()
        (lab.server / "#innodb_redo/#ib_redo7").write_bytes(b"x" * 1000)
        assert ready(client).server.data_bytes == before
        (lab.server / "undo001").write_bytes(b"x" * 1000)
        assert ready(client).server.data_bytes == before + 1000

    def test_gtid_is_that_at_the_bases_position(self, client: Client) -> None:
        client.gtid = "0-1-7"
        base = manifest(binlog=Binlog("bin.000003", 512, "0-1-7"))
        assert preflight.ready_for_backup(client.settings(), base).server.gtid_at_base == "0-1-7"

    def test_without_a_binary_log(self, client: Client) -> None:
        client.rows["log_bin"] = "OFF"
        client.fails = {
            "SHOW BINARY LOGS": "1381 You are not using binary logging",
            "SELECT BINLOG_GTID_POS": "1381 You are not using binary logging",
        }
        base = manifest(binlog=Binlog("bin.000003", 512, "0-1-7"))
        found = preflight.ready_for_backup(client.settings(), base).server
        assert (found.binlogs, found.gtid_at_base) == (None, None)

    @pytest.mark.parametrize(
        "question", ["SHOW BINARY LOGS", "SELECT BINLOG_GTID_POS", "SELECT COUNT(*)", "SHOW GRANTS", "SET"]
    )
    def test_a_question_that_fails_takes_no_other_with_it(self, client: Client, question: str) -> None:
        client.fails = {question: "29 File './bin.000003' not found"}
        client.gtid = "0-1-7"
        base = manifest(binlog=Binlog("bin.000003", 512, "0-1-7"))
        found = preflight.ready_for_backup(client.settings(), base).server
        assert found.binlogs == (None if "LOGS" in question else {"bin.000003": 700, "bin.000004": 100})
        assert found.gtid_at_base == (None if "GTID" in question else "0-1-7")
        assert found.lsn == 9000

    def test_what_lies_elsewhere(self, lab: Lab, client: Client) -> None:
        undo = lab.root / "undo"
        client.rows |= {"innodb_undo_directory": str(undo), "innodb_log_group_home_dir": f"{lab.server}/./"}
        assert ready(client).server.origin.elsewhere == {"innodb_undo_directory": str(undo)}

    def test_a_linked_data_directory_is_the_one_it_points_to(self, lab: Lab, client: Client) -> None:
        (lab.root / "link").symlink_to(lab.server)
        client.rows["datadir"] = f"{lab.root}/link/"
        settings = client.settings()
        for configured in (lab.server, lab.root / "link"):
            found = preflight.ready_for_backup(replace(settings, data_dir=configured), None)
            assert found.server.origin.data_dir == str(lab.server)

    @pytest.mark.parametrize(
        "error",
        [
            CANNOT_CONNECT,
            CANNOT_CONNECT.replace("(2)", "(111)"),
            "ERROR 2003 (HY000): Can't connect to server on '127.0.0.1' (111 \"Connection refused\")",
            "ERROR 2002 (HY000): Can't connect to server on '127.0.0.1' (115)",
        ],
    )
    def test_no_server(self, client: Client, error: str) -> None:
        client.errors = error
        assert refused(ready, client) == (503, "server is not running")

    def test_nobody_listens_and_a_server_works_in_the_data_directory(self, lab: Lab, client: Client) -> None:
        client.errors = CANNOT_CONNECT
        with server_in(lab.server) as process:
            code, sentence = refused(ready, client)
        assert code == 503
        assert sentence.startswith(f"process {process.pid} (")
        assert f" works in {lab.server}, and nobody listens where " in sentence

    @pytest.mark.parametrize(("error", "told", "cause"), SILENCES)
    def test_each_other_silence_has_its_own_sentence(
        self, client: Client, error: str, told: str, cause: str | None
    ) -> None:
        client.errors = error
        with pytest.raises(Refused) as refusal:
            ready(client)
        assert (refusal.value.code, refusal.value.data.get("cause")) == (503, cause)
        assert told in str(refusal.value)
        assert "not running" not in str(refusal.value)

    @pytest.mark.parametrize(
        ("number", "told"),
        [
            ("2013 Lost connection to server during query", "in the middle of its questions"),
            ("2006 Server has gone away", "in the middle of its questions"),
            ("1927 Connection was killed", "in the middle of its questions"),
            ("1184 Aborted connection 6 (init_connect command failed)", "GRANT CONNECTION ADMIN"),
            ("1820 You must SET PASSWORD", "has expired: run: dbcalm setup"),
            ("1226 User 'b' has exceeded the 'max_queries_per_hour' resource", "may ask no more"),
            ("3032 The server is currently in offline mode", "offline_mode = OFF"),
        ],
    )
    @pytest.mark.parametrize("statement", ["SET SESSION lc_messages", "SHOW VARIABLES", "SHOW GLOBAL STATUS"])
    def test_a_server_that_ends_the_session(
        self, client: Client, statement: str, number: str, told: str
    ) -> None:
        client.fails = {statement: number}
        code, sentence = refused(ready, client)
        assert (code, told in sentence) == (503, True), sentence

    def test_not_all_of_an_answer_is_no_fact(self, client: Client) -> None:
        client.limit, client.rows = "1", {"datadir": client.rows["datadir"]}
        code, sentence = refused(ready, client)
        assert (code, "SET GLOBAL sql_select_limit" in sentence) == (503, True), sentence

    @pytest.mark.parametrize(
        ("name", "value"), [("version", ""), ("version", "odd"), ("datadir", "here"), ("log_bin", "")]
    )
    def test_an_answer_of_another_form_is_no_fact(self, client: Client, name: str, value: str) -> None:
        client.rows[name] = value
        code, sentence = refused(ready, client)
        told = sentence.partition("in a form that is not known: ")[2]
        assert (code, name in told) == (503, True), sentence

    def test_the_tools_own_question_fails(self, client: Client) -> None:
        client.fails = {"SHOW VARIABLES": "1104 The SELECT would examine more than MAX_JOIN_SIZE rows"}
        code, sentence = refused(ready, client)
        assert (code, "the backup tool cannot work" in sentence) == (503, True)
        assert "MAX_JOIN_SIZE" in sentence

    @pytest.mark.parametrize("told", ["", "x"])
    def test_no_log_sequence_number(self, client: Client, told: str) -> None:
        client.status = {"Innodb_lsn_current": told}
        code, sentence = refused(ready, client)
        assert (code, "log sequence number" in sentence) == (503, True)

    def test_a_key_file_that_is_gone_is_named(self, lab: Lab, client: Client) -> None:
        for name, before in (("file_key_management_filename", ""), ("file_key_management_filekey", "FILE:")):
            keys = lab.root / name
            client.rows[name] = f"{before}{keys}"
            code, sentence = refused(ready, client)
            assert (code, f"{name} names" in sentence, f"names is not there: {keys};" in sentence) == (
                503,
                True,
                True,
            )
            keys.touch()
            ready(client)
        client.rows["file_key_management_filekey"] = "a password"
        ready(client)

    def test_myrocks_needs_super(self, client: Client) -> None:
        client.myrocks = "1"
        with pytest.raises(Refused) as refusal:
            ready(client)
        assert refusal.value.data["cause"] == "grants"
        assert "GRANT SUPER ON *.* TO `backup`@`localhost`;" in str(refusal.value)
        for has in ("ALL PRIVILEGES", "RELOAD, SUPER, PROCESS"):
            client.grants = f"GRANT {has} ON *.* TO `backup`@`localhost`\n"
            ready(client)

    @pytest.mark.parametrize(
        ("denied", "grants"),
        [
            (["RELOAD"], "RELOAD"),
            (["PROCESS"], "PROCESS"),
            (["SUPER, BINLOG MONITOR"], "BINLOG MONITOR"),
            (["RELOAD", "PROCESS"], "RELOAD, PROCESS"),
            (["SOMETHING NEW"], "RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR"),
        ],
    )
    def test_a_missing_grant_names_what_to_type(self, client: Client, denied: list[str], grants: str) -> None:
        statements = ("BACKUP STAGE START", "SHOW ENGINE INNODB STATUS")
        client.fails = dict(zip(statements, map(DENIED.format, denied), strict=False))
        assert refused(ready, client) == (
            503,
            f"the backup user lacks a grant; type: GRANT {grants} ON *.* TO `backup`@`localhost`;",
        )

    def test_a_backup_by_somebody_else(self, client: Client) -> None:
        client.fails = {"BACKUP STAGE START": "1205 Lock wait timeout exceeded; try restarting transaction"}
        with pytest.raises(Refused) as lock:
            ready(client)
        assert (lock.value.code, lock.value.data) == (409, {"job_id": None})

    def test_a_client_that_fails_in_another_way(self, client: Client) -> None:
        client.errors = "mariadb: unknown option '--frob'"
        assert refused(ready, client) == (503, "the database client failed: mariadb: unknown option '--frob'")

    def test_a_server_of_another_vendor(self, client: Client) -> None:
        client.rows["version"] = "8.4.2"
        client.rows["version_comment"] = "MySQL Community Server - GPL"
        assert refused(ready, client) == (503, "db_type is mariadb, but the server is 8.4.2")

    def test_a_tool_of_another_series(self, lab: Lab, client: Client) -> None:
        shell(lab.tool, "echo 'based on MariaDB server 10.5.23-MariaDB'")
        code, sentence = refused(ready, client)
        assert code == 503
        assert sentence == (
            f"{lab.tool} is of version 10.5.23 and the server of 10.11.19; install the server's own"
        )

    def test_another_data_directory(self, lab: Lab, client: Client) -> None:
        settings = replace(client.settings(), data_dir=lab.data)
        expected = (503, f"the server's data directory is {lab.server}, but data_dir is {lab.data}")
        assert refused(preflight.ready_for_backup, settings, None) == expected

    def test_a_data_directory_that_cannot_be_read(self, lab: Lab, client: Client) -> None:
        (lab.server / "ibdata1").unlink()
        code, sentence = refused(ready, client)
        assert code == 503
        assert sentence.startswith("user mysql cannot read the server's data directory")

    @pytest.mark.parametrize("key", ["backup_bin", "client_bin"])
    def test_a_program_that_is_not_there(self, client: Client, key: str) -> None:
        settings = replace(client.settings(), **{key: Path("/none")})  # type: ignore[arg-type]
        assert refused(preflight.ready_for_backup, settings, None)[0] == 503


class TestReadyForRestore:
    def check(self, client: Client, target: str = "database", **origin: object) -> Path:
        """Ask for a restore; nothing answers at the server's socket."""
        client.errors = CANNOT_CONNECT
        lab = client.lab
        settings = replace(client.settings(), data_dir=lab.data)
        made = lab.back_up(f"b{lab.seq}")
        chain = [replace(made, server=replace(made.server, **origin))]  # type: ignore[arg-type]
        path = lab.data if target == "database" else lab.restores / "x"
        return preflight.ready_for_restore(settings, chain, target, path)

    @pytest.mark.parametrize("target", ["database", "folder"])
    def test_says_which_tool(self, client: Client, target: str) -> None:
        assert self.check(client, target) == client.lab.tool

    @pytest.mark.parametrize(("field", "other"), [("tool_version", "10.6.1"), ("engine", "mysql")])
    def test_another_tool_is_not_tried(self, client: Client, field: str, other: str) -> None:
        made = replace(client.lab.back_up("other"), **{field: other})  # type: ignore[arg-type]
        code, sentence = refused(
            preflight.ready_for_restore, client.settings(), [made], "folder", client.lab.restores / "x"
        )
        assert (code, other in sentence) == (409, True)

    def test_lost_and_found_is_in_nobodys_way(self, client: Client) -> None:
        (client.lab.data / "lost+found").mkdir(mode=0)
        self.check(client)

    @pytest.mark.parametrize("name", ["mysqld.pid", ".hidden", "lost/"])
    def test_the_data_directory_must_be_strictly_empty(self, client: Client, name: str) -> None:
        path = client.lab.data / name
        path.mkdir() if name.endswith("/") else path.touch()
        assert refused(self.check, client) == (503, f"data directory is not empty: {client.lab.data}")
        self.check(client, "folder")

    def test_the_data_directory_must_be_there(self, client: Client) -> None:
        client.lab.data.rmdir()
        code, sentence = refused(self.check, client)
        assert (code, "does not exist; make it, empty, owned by mysql" in sentence) == (503, True)

    def test_the_data_directory_must_be_open_to_us(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(preflight.os, "access", lambda path, mode: path != client.lab.data)
        code, sentence = refused(self.check, client)
        assert (code, "restart dbcalm-mariadb-cmd" in sentence) == (503, True)
        self.check(client, "folder")

    def test_files_elsewhere_are_not_put_back_by_half(self, client: Client) -> None:
        elsewhere = {"innodb_undo_directory": "/undo"}
        code, sentence = refused(lambda: self.check(client, elsewhere=elsewhere))
        assert code == 409
        assert "innodb_undo_directory (/undo); restore to a folder instead" in sentence
        self.check(client, "folder", elsewhere=elsewhere)

    def test_a_table_elsewhere_is_not_put_back_by_half(self, client: Client) -> None:
        client.lab.fill({"shop/far.isl": "/srv/shop/far.ibd", "shop/far.ibd": "x"})
        code, sentence = refused(self.check, client)
        assert code == 409
        assert "outside its data directory: shop/far.isl (/srv/shop/far.ibd); restore to a folder" in sentence
        self.check(client, "folder")

    @pytest.mark.parametrize("error", ["", *(error for error, _, _ in SILENCES)])
    def test_a_server_that_answers_is_not_stopped(self, client: Client, error: str) -> None:
        client.errors = error
        settings = replace(client.settings(), data_dir=client.lab.data)
        arguments = (settings, [manifest()], "database", client.lab.data)
        code, sentence = refused(preflight.ready_for_restore, *arguments)
        assert code == 503
        assert sentence.startswith("server is not stopped: ")

    def test_not_stopped_is_told_before_not_empty(self, client: Client) -> None:
        (client.lab.data / "ibdata1").touch()
        settings = replace(client.settings(), data_dir=client.lab.data)
        arguments = (settings, [manifest()], "database", client.lab.data)
        assert refused(preflight.ready_for_restore, *arguments)[1].startswith("server is not stopped: ")


def test_a_server_that_hangs_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SECONDS", 0.05)
    hanging = shell(lab.root / "mariadb", "exec sleep 5")
    code, sentence = refused(facts.read_facts, ENGINES["mariadb"], hanging, lab.credentials, None, lab.data)
    assert (code, sentence) == (503, "the database does not answer within 0.05 s")
    assert not [pid for pid in os.listdir("/proc") if pid.isdigit() and is_child_called(pid, "sleep")]


def is_child_called(pid: str, name: str) -> bool:
    """Tell whether a process is a child of ours with this name."""
    try:
        _, _, rest = Path(f"/proc/{pid}/stat").read_text().partition(f"({name}) ")
    except OSError:
        return False
    return bool(rest) and rest.split()[1] == str(os.getpid())
