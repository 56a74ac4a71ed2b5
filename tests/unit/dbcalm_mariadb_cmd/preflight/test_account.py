"""The account of the backup tool: its option file, its statements, and what root lets nobody else have a hand in."""

import grp
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dbcalm_mariadb_cmd.builder.argv import administrator_argv
from dbcalm_mariadb_cmd.preflight import account
from dbcalm_mariadb_cmd.preflight.account import Account, AccountError, Administrator, Settings

PLAIN = Account("dbcalm_backup", "s3cret", "/run/db.sock")

needs_mysql = pytest.mark.skipif(
    os.geteuid() != 0 or "mysql" not in {group.gr_name for group in grp.getgrall()},
    reason="gives a file to group mysql, as root",
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o640)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that nobody else can write to, whatever the umask."""
    tmp_path.chmod(0o755)
    return tmp_path


def test_a_new_password_is_long_random_and_of_every_kind_of_character() -> None:
    passwords = {account.new().password for _ in range(50)}
    assert len(passwords) == 50
    for password in passwords:
        assert len(password) == 43 + len("-Aa1")
        kinds = str.isdigit, str.isupper, str.islower, lambda c: not c.isalnum()
        assert all(any(map(kind, password)) for kind in kinds)


@pytest.mark.parametrize("socket", ["", "/run/mysqld/other.sock"])
def test_what_is_written_can_be_read(folder: Path, socket: str) -> None:
    made = account.new(socket)
    assert account.read(write(folder / "credentials.cnf", account.option_file(made))) == made


@pytest.mark.parametrize("socket", ["run/db.sock", "/a b", "/a\nuser=root", "/a'b", "/" + "a" * 108])
def test_a_socket_that_could_be_more_than_a_path_is_refused(socket: str) -> None:
    with pytest.raises(AccountError, match="absolute path"):
        account.new(socket)


def test_only_our_section_is_read(folder: Path) -> None:
    ours = "[client-dbcalm]\n# a comment\nuser = app\n password=p-1\n"
    text = f"[client]\nuser=root\npassword=other\n{ours}[mysqld]\nuser=x\n"
    assert account.read(write(folder / "c.cnf", text)) == Account("app", "p-1")


def test_a_file_that_is_missing_is_none(folder: Path) -> None:
    assert account.read(folder / "none.cnf") is None


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "has no section"),
        ("[client]\nuser=a\npassword=b\n", "has no section"),
        ("[client-dbcalm]\n", "must have a user and a password"),
        ("[client-dbcalm]\nuser=a\n", "must have a user and a password"),
        ("[client-dbcalm]\nuser=a'b\npassword=c\n", "must have a user and a password"),
        ("[client-dbcalm]\nuser=a\npassword='c'\n", "must have a user and a password"),
        ("[client-dbcalm]\nuser=a\npassword=c\\'; DROP\n", "must have a user and a password"),
        ("[client-dbcalm]\nuser=a\npassword=c d\n", "must have a user and a password"),
        ("[client-dbcalm]\nuser=a\npassword=c#d\n", "must have a user and a password"),
        ("[client-dbcalm]\nuser=a\npassword=b\nhost=192.0.2.1\n", "names host 192.0.2.1"),
        ("[client-dbcalm]\nuser=a\npassword=b\nsocket=x y\n", "must name the socket"),
    ],
)
def test_what_cannot_be_read_for_sure_is_not_guessed(folder: Path, text: str, word: str) -> None:
    with pytest.raises(AccountError, match=word):
        account.read(write(folder / "c.cnf", text))


def test_the_statements_make_or_change_the_account() -> None:
    grant = "GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO 'dbcalm_backup'@'localhost';\n"
    assert account.statements(PLAIN) == (
        "CREATE USER IF NOT EXISTS 'dbcalm_backup'@'localhost' IDENTIFIED BY 's3cret';\n" + grant
    )
    assert account.statements(PLAIN, change=True) == (
        "ALTER USER 'dbcalm_backup'@'localhost' IDENTIFIED BY 's3cret' ACCOUNT UNLOCK PASSWORD EXPIRE NEVER;\n"
        + grant
    )
    assert account.statements(PLAIN, myrocks=True).endswith(
        "BINLOG MONITOR, SUPER ON *.* TO 'dbcalm_backup'@'localhost';\n"
    )


def test_people_are_not_shown_the_password() -> None:
    shown = account.for_people(PLAIN, Path("/etc/dbcalm/credentials.cnf"))
    assert "s3cret" not in shown
    assert "'the password in /etc/dbcalm/credentials.cnf'" in shown


def test_no_argument_has_the_password_and_no_file_goes_to_the_server() -> None:
    argv = administrator_argv(Path("/usr/bin/mariadb"), "/run/db.sock")
    assert argv[:2] == ["/usr/bin/mariadb", "--no-defaults"]
    assert {"--user=root", "--protocol=socket", "--socket=/run/db.sock", "--local-infile=0"} <= set(argv)
    assert "--socket=" not in " ".join(administrator_argv(Path("/usr/bin/mariadb"), ""))


@needs_mysql
def test_the_file_is_for_root_and_mysql_alone_and_replaces_none(folder: Path) -> None:
    path = folder / "credentials.cnf"
    (folder / ".credentials.cnf.new").write_text("left by a run that was killed")
    account.write(path, PLAIN)
    status = path.stat()
    assert (status.st_uid, grp.getgrgid(status.st_gid).gr_name) == (0, "mysql")
    assert stat.S_IMODE(status.st_mode) == 0o640
    with pytest.raises(AccountError, match="File exists"):
        account.write(path, replace(PLAIN, password="other"))
    assert account.read(path) == PLAIN


class TestWhatIsRootsOwn:
    def test_is_good_enough(self, folder: Path) -> None:
        write(folder / "file", "x")
        (folder / "link").symlink_to("file")
        (folder / "far").symlink_to(folder / "link")
        for name in ("file", "link", "far", "../" + folder.name + "/file"):
            account.require_own(folder / name)

    def test_a_sticky_folder_may_be_shared(self, folder: Path) -> None:
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o1777)
        account.require_own(write(folder / "tmp" / "file", "x"))

    @pytest.mark.parametrize("mode", [0o666, 0o660, 0o646])
    def test_a_file_that_others_may_write_to(self, folder: Path, mode: int) -> None:
        write(folder / "file", "x").chmod(mode)
        with pytest.raises(AccountError, match="not be writable by others"):
            account.require_own(folder / "file")

    def test_a_folder_on_the_way_that_others_may_write_to(self, folder: Path) -> None:
        (folder / "open").mkdir()
        write(folder / "open" / "file", "x")
        (folder / "open").chmod(0o777)
        (folder / "link").symlink_to("open/file")
        for name in ("open/file", "link"):
            with pytest.raises(AccountError, match="open must be owned by root"):
                account.require_own(folder / name)

    @needs_root
    @pytest.mark.parametrize("what", ["folder", "file", "link"])
    def test_what_somebody_else_owns(self, folder: Path, what: str) -> None:
        (folder / "folder").mkdir()
        write(folder / "folder" / "file", "x")
        (folder / "folder" / "link").symlink_to("file")
        path = folder / "folder" / {"folder": "file", "file": "file", "link": "link"}[what]
        owned = folder / "folder" if what == "folder" else path
        os.chown(owned, 65534, 65534, follow_symlinks=False)
        with pytest.raises(AccountError, match="must be owned by root"):
            account.require_own(path)

    @needs_root
    def test_a_link_through_a_folder_of_somebody_else(self, folder: Path) -> None:
        write(folder / "file", "x")
        (folder / "theirs").mkdir()
        (folder / "theirs" / "hop").symlink_to(folder / "file")
        (folder / "link").symlink_to(folder / "theirs" / "hop")
        os.chown(folder / "theirs", 65534, 65534)
        with pytest.raises(AccountError, match="theirs must be owned by root"):
            account.require_own(folder / "link")

    def test_a_circle_of_links_ends(self, folder: Path) -> None:
        (folder / "a").symlink_to("b")
        (folder / "b").symlink_to("a")
        with pytest.raises(AccountError, match="circle"):
            account.require_own(folder / "a")

    def test_nothing_at_all(self, folder: Path) -> None:
        with pytest.raises(FileNotFoundError):
            account.require_own(folder / "none")

    def test_is_the_option_file(self, folder: Path) -> None:
        path = write(folder / "c.cnf", account.option_file(PLAIN))
        path.chmod(0o666)
        with pytest.raises(AccountError, match="not be writable by others"):
            account.read(path)

    def test_is_the_folder_that_is_written_to(self, folder: Path) -> None:
        (folder / "open").mkdir()
        (folder / "open").chmod(0o777)
        with pytest.raises(AccountError, match="not be writable by others"):
            account.write(folder / "open" / "c.cnf", PLAIN)
        assert list((folder / "open").iterdir()) == []


class TestAdministrator:
    def settings(self, folder: Path, client: str = "", db_type: str = "mariadb") -> Settings:
        """Return settings with a program in the place of the client, none where it has no text."""
        path = folder / "client"
        if client:
            path.write_text(f"#!/bin/sh\n{client}\n")
            path.chmod(0o755)
        return Settings(db_type, path, folder / "credentials.cnf")

    def test_needs_a_client(self, folder: Path) -> None:
        with pytest.raises(AccountError, match="client is not a program"):
            Administrator(self.settings(folder), PLAIN)

    def test_runs_no_client_that_others_can_change(self, folder: Path) -> None:
        settings = self.settings(folder, "echo 0")
        (folder / "client").chmod(0o777)
        with pytest.raises(AccountError, match="client must be owned by root"):
            Administrator(settings, PLAIN)

    def test_knows_mariadb_alone(self, folder: Path) -> None:
        with pytest.raises(AccountError, match="by hand where db_type is mysql"):
            Administrator(self.settings(folder, "echo 0", "mysql"), PLAIN)

    def test_hands_the_statements_over_by_standard_input(self, folder: Path) -> None:
        seen = folder / "seen"
        root = Administrator(self.settings(folder, f'cat > {seen}; echo "$@" >> {seen}'), PLAIN)
        root.make(change=False)
        assert seen.read_text().startswith(account.statements(PLAIN))
        assert seen.read_text().count("s3cret") == 1

    def test_a_server_that_repeats_the_password_is_not_repeated(self, folder: Path) -> None:
        settings = self.settings(folder, "echo \"ERROR 1064 near 's3cret'\" >&2; exit 1")
        with pytest.raises(AccountError, match="ERROR 1064") as raised:
            Administrator(settings, PLAIN).make(change=True)
        assert "s3cret" not in str(raised.value)
