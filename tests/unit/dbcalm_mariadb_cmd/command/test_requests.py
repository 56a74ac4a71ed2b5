"""The mysql service's commands: which values each field takes, by name, and which it refuses."""

from typing import Any

import pytest

from dbcalm_cmd.wire import Command, InvalidCommand
from dbcalm_mariadb_cmd.command.requests import (
    AdoptBackup,
    BringBack,
    Check,
    CleanupBackups,
    DatabaseWanted,
    DeleteBackup,
    FullBackup,
    HoldBackup,
    IncrementalBackup,
    JobLog,
    JobProgress,
    ListAdoptable,
    ListBackups,
    ListReplaced,
    ListTrash,
    LookAtBackups,
    ReadEvents,
    ReleaseBackup,
    ReportDatabase,
    RestoreBackup,
    UndeleteBackup,
    VerifyBackup,
    valid_id,
)

JOB = "0123456789abcdef" * 2
WANT = "0123456789abcdef"
IDENTITY = "AGE-SECRET-KEY-177GGVS95DFGKX4YEUU9FRL73K6HKDDYJ72ZFEEGWF656YWNT8DGSSXE7QJ"
"""Made for these tests; it opens nothing."""

GOOD: list[tuple[type[Command], dict[str, Any]]] = [
    (FullBackup, {"job_id": JOB, "id": "monday", "schedule_id": 3, "form": "zstd", "synthetic": True}),
    (
        IncrementalBackup,
        {
            "job_id": JOB,
            "id": "tuesday",
            "from_backup_id": "monday",
            "or_full": True,
            "schedule_id": 3,
            "form": None,
        },
    ),
    (
        RestoreBackup,
        {"job_id": JOB, "id": "monday", "target": "folder", "replace": False, "identity": IDENTITY},
    ),
    (DeleteBackup, {"id": "monday"}),
    (ReadEvents, {"journal": "", "offset": 0, "wait": 0.5}),
    (ListBackups, {"after": "monday", "examine": True}),
    (LookAtBackups, {"after": "monday", "within": 3.0}),
    (JobProgress, {"job_id": JOB}),
    (Check, {}),
    (UndeleteBackup, {"id": "monday", "deleted_at": "2026-11-23T03:00:00.000000Z"}),
    (HoldBackup, {"id": "monday", "reason": "audit of 2026", "until": "2027-01-31T03:00:00.000000Z"}),
    (ReleaseBackup, {"id": "monday"}),
    (CleanupBackups, {"job_id": JOB, "ids": ["monday", "tuesday"], "schedule_id": 3}),
    (ListTrash, {}),
    (JobLog, {"job_id": JOB, "offset": 5}),
    (BringBack, {"job_id": JOB, "id": "monday-restored-2026-11-23-03-00-00"}),
    (ListReplaced, {}),
    (DatabaseWanted, {}),
    (AdoptBackup, {"job_id": JOB, "id": "monday"}),
    (ListAdoptable, {}),
    (VerifyBackup, {"job_id": JOB, "id": "monday", "level": 3, "schedule_id": 3, "identity": IDENTITY}),
    (ReportDatabase, {"job_id": JOB, "want": WANT, "state": "failed", "problem": "it did not start"}),
]
FIELDS = [(command, args, field) for command, args in GOOD for field in args]

GOOD_IDS = [
    "a", "0", "a-b", "a--b", "2026-11-23-03-00-00", "2026-11-23-03-00-00-2", "x" * 64, "0" * 64, "restore", "works",
    "trash-1",
]  # fmt: skip
BAD_IDS = [
    "", " ", "-", "-a", "a-", "--", "a b", " a", "a ", "a\n", "\na", "a\0", "a\t", ".", "..", ".a", "a.", "a.b", "...",
    "/", "a/b", "/etc", "../a", "a/..", "a/../b", "./a", "\\", "a\\b", "..\\a", "~", "~root", "$HOME", "${a}", "`id`",
    "$(id)", "a;b", "a|b", "a&b", "a>b", "a*", "a?", "[a]", "{a}", "a'b", 'a"b', "a%b", "%2e%2e", "a%00", "a=b",
    "--help", "a:b", "a@b", "a+b", "a,b", "A", "Monday", "MONDAY", "a_b", "_", "é", "ä-b", "a\u0301", "\u0663",
    "\uff11", "\u00b2", "\u017f", "\u212a", "\u202ea", "a\u200b", "a\ufeff", "日本", "\ud800", "\U0001f600", "a\u2028",
    "x" * 65, "x" * 300, "x" * 100_000, "restores", "trash", "work", ".work", ".trash",
]  # fmt: skip
NO_IDS = [None, True, False, 0, 1, 1.5, [], ["a"], {}, {"a": 1}, b"a", 10**300]


@pytest.mark.parametrize(("command", "args"), GOOD, ids=lambda value: getattr(value, "wire_name", ""))
def test_a_good_request_becomes_its_command(command: type[Command], args: dict[str, Any]) -> None:
    made = vars(command.from_args(args))
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in made.items()} == args


def test_commands_are_named_on_the_wire_as_in_the_code() -> None:
    assert [command.wire_name for command, _ in GOOD] == [
        "full_backup",
        "incremental_backup",
        "restore_backup",
        "delete_backup",
        "read_events",
        "list_backups",
        "look_at_backups",
        "job_progress",
        "check",
        "undelete_backup",
        "hold_backup",
        "release_backup",
        "cleanup_backups",
        "list_trash",
        "job_log",
        "bring_back",
        "list_replaced",
        "database_wanted",
        "adopt_backup",
        "list_adoptable",
        "verify_backup",
        "report_database",
    ]


def test_what_may_be_none_may_be_none() -> None:
    FullBackup(JOB, None, None)
    IncrementalBackup(JOB, None, "monday", False, None)


@pytest.mark.parametrize(
    ("command", "args", "field"), FIELDS, ids=lambda value: getattr(value, "wire_name", None)
)
def test_no_argument_may_be_missing(command: type[Command], args: dict[str, Any], field: str) -> None:
    lacking = {name: value for name, value in args.items() if name != field}
    with pytest.raises(InvalidCommand, match=f"^argument {field} is missing$"):
        command.from_args(lacking)


@pytest.mark.parametrize(("command", "args"), GOOD, ids=lambda value: getattr(value, "wire_name", ""))
def test_no_argument_may_be_added(command: type[Command], args: dict[str, Any]) -> None:
    for name in ("path", "wire_name", "self", "__class__", "", "\ud800", "zzz"):
        with pytest.raises(InvalidCommand, match=f"^unknown argument .*; {command.wire_name} takes "):
            command.from_args({**args, name: 1})


@pytest.mark.parametrize("args", [None, [], "x", 5, True])
def test_arguments_are_an_object(args: object) -> None:
    for command, _ in GOOD:
        with pytest.raises(InvalidCommand, match="^args must be an object$"):
            command.from_args(args)


def refuses(command: type[Command], args: dict[str, Any], field: str, values: list[Any]) -> None:
    """Fail unless the command refuses each of these values in this field, and says which field it is."""
    for value in values:
        with pytest.raises(InvalidCommand, match=f"^{field} must be "):
            command.from_args({**args, field: value})


def takes(command: type[Command], args: dict[str, Any], field: str, values: list[Any]) -> None:
    """Fail unless the command takes each of these values in this field."""
    for value in values:
        assert getattr(command.from_args({**args, field: value}), field) == value


@pytest.mark.parametrize(
    ("command", "args", "field"),
    [case for case in FIELDS if case[2] in ("id", "from_backup_id", "after") and case[0] is not BringBack],
    ids=lambda value: getattr(value, "wire_name", None),
)
def test_an_id_is_a_plain_word_in_every_command(
    command: type[Command], args: dict[str, Any], field: str
) -> None:
    takes(command, args, field, GOOD_IDS)
    may_be_none = (command, field) in {(FullBackup, "id"), (IncrementalBackup, "id")}
    may_be_empty = (command, field) in {(ListBackups, "after"), (LookAtBackups, "after")}
    wrong = [value for value in BAD_IDS if not (may_be_empty and value == "")]
    refuses(
        command, args, field, [*wrong, *(value for value in NO_IDS if not (may_be_none and value is None))]
    )


def test_a_level_is_one_of_the_ladder_that_a_job_can_reach() -> None:
    args = {"job_id": JOB, "id": "monday", "level": 3, "schedule_id": None, "identity": None}
    takes(VerifyBackup, args, "level", [1, 2, 3])
    refuses(VerifyBackup, args, "level", [0, 4, -1, True, None, "3", 3.0, [3]])


def test_valid_id_says_the_same_as_the_commands() -> None:
    assert all(map(valid_id, GOOD_IDS))
    assert not any(map(valid_id, BAD_IDS + NO_IDS))


def test_the_refusal_of_an_id_says_what_is_allowed_and_does_not_repeat_it() -> None:
    reason = "id must be 1 to 64 of a-z, 0-9 and -, neither first nor last a -, and no reserved name"
    with pytest.raises(InvalidCommand) as caught:
        DeleteBackup("../" * 100)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("command", "args", "field"),
    [case for case in FIELDS if case[2] == "job_id"],
    ids=lambda value: getattr(value, "wire_name", None),
)
def test_a_job_id_is_32_hexadecimal_digits(command: type[Command], args: dict[str, Any], field: str) -> None:
    takes(command, args, field, ["0" * 32, "f" * 32, JOB])
    wrong = [
        "",
        JOB[:-1],
        JOB + "0",
        JOB.upper(),
        JOB[:-1] + "g",
        JOB[:-1] + "\n",
        JOB + "\n",
        "-" * 32,
        "\u0663" * 32,
    ]
    refuses(command, args, field, [*wrong, None, True, 0, 10**31, 1.5, [JOB], {JOB: 1}])


@pytest.mark.parametrize(
    ("command", "args", "field"),
    [case for case in FIELDS if case[2] == "schedule_id"],
    ids=lambda value: getattr(value, "wire_name", None),
)
def test_a_schedule_is_a_positive_integer(command: type[Command], args: dict[str, Any], field: str) -> None:
    takes(command, args, field, [1, 2**63 - 1, None])
    refuses(
        command, args, field, [0, -1, 2**63, 10**5000, True, False, 1.0, 3.9, "3", "3\n", "\u0663", [], {}]
    )


def test_synthetic_is_true_or_false() -> None:
    args = {"job_id": JOB, "id": None, "schedule_id": None, "form": None, "synthetic": False}
    takes(FullBackup, args, "synthetic", [True, False])
    refuses(FullBackup, args, "synthetic", [0, 1, None, "true", "", 1.0, [], {}])


def test_or_full_is_true_or_false() -> None:
    args = dict(GOOD[1][1])
    takes(IncrementalBackup, args, "or_full", [True, False])
    refuses(IncrementalBackup, args, "or_full", [0, 1, None, "true", "", 1.0, [], {}])


@pytest.mark.parametrize(("command", "args"), GOOD[:2], ids=lambda value: getattr(value, "wire_name", None))
def test_a_form_is_one_of_three_words(command: type[Command], args: dict[str, Any]) -> None:
    takes(command, args, "form", ["folder", "zstd", "gzip", None])
    wrong = ["", "auto", "Zstd", "zstd ", "zstd\n", "-d", "../zstd", True, 0, 1.0, ["zstd"], {}]
    refuses(command, args, "form", wrong)


def test_an_identity_is_a_whole_private_key_of_age_and_is_never_shown() -> None:
    args = dict(GOOD[2][1])
    takes(RestoreBackup, args, "identity", [IDENTITY, None])
    wrong = [
        "", IDENTITY.lower(), IDENTITY[:-1], IDENTITY + "X", IDENTITY + "\n", f" {IDENTITY}", IDENTITY[:-1] + "Q",
        IDENTITY.replace("77GG", "7G7G"), "age1qc4wcr5ec5dtu469mucg2gg4ap4m206y63mj698tu573k5pdm5cqc4g47f",
        "/etc/passwd", "-", True, 0, [IDENTITY], {},
    ]  # fmt: skip
    refuses(RestoreBackup, args, "identity", wrong)
    assert IDENTITY not in repr(RestoreBackup.from_args(args))
    with pytest.raises(InvalidCommand) as caught:
        RestoreBackup(JOB, "monday", "folder", False, IDENTITY[:-1] + "Q")
    assert "AGE-SECRET-KEY-177" not in str(caught.value)


def test_a_target_is_one_of_two_words() -> None:
    args = dict(GOOD[2][1])
    takes(RestoreBackup, args, "target", ["database", "folder"])
    refuses(
        RestoreBackup,
        args,
        "target",
        ["", "Folder", "folder ", "folder\n", "/tmp", "..", None, True, 0, ["folder"], {}],
    )


def test_to_replace_is_for_the_database() -> None:
    args = {**GOOD[2][1], "target": "database"}
    takes(RestoreBackup, args, "replace", [True, False])
    refuses(RestoreBackup, args, "replace", [0, 1, None, "true", "", 1.0, [], {}])
    with pytest.raises(
        InvalidCommand, match="^replace is for target database only: a folder is always a new one$"
    ):
        RestoreBackup(JOB, "monday", "folder", True)


def test_what_was_replaced_has_the_name_of_a_restore() -> None:
    args = {"job_id": JOB}
    takes(
        BringBack, args, "id", ["a", "brought-back-2026-11-23-03-00-00-2", "x" * 64 + "-restored-" + "0" * 19]
    )
    refuses(BringBack, args, "id", [*(set(BAD_IDS) - {"a-", "x" * 65, "restores", "trash", "work"}), *NO_IDS])


def test_a_want_is_16_hexadecimal_digits() -> None:
    args = dict(GOOD[-1][1])
    takes(ReportDatabase, args, "want", ["0" * 16, WANT])
    refuses(ReportDatabase, args, "want", ["", WANT[1:], WANT + "0", WANT.upper(), WANT + "\n", *NO_IDS])


def test_a_report_has_one_of_four_states() -> None:
    args = dict(GOOD[-1][1])
    takes(ReportDatabase, args, "state", ["pending", "stopped", "running", "failed"])
    refuses(ReportDatabase, args, "state", ["", "active", "Running", "failed\n", *NO_IDS])


def test_a_problem_is_one_sentence_or_none() -> None:
    args = dict(GOOD[-1][1])
    takes(ReportDatabase, args, "problem", ["", "x", "x" * 200, "ä"])
    refuses(ReportDatabase, args, "problem", ["x" * 201, "a\nb", "\x1b[1m", *NO_IDS])


def test_the_journal_is_a_short_text() -> None:
    args = dict(GOOD[4][1])
    takes(ReadEvents, args, "journal", ["", "x", "x" * 64, "../../etc", "\ud800"])  # Compared, never opened.
    refuses(ReadEvents, args, "journal", ["x" * 65, "x" * 100_000, None, True, 0, 1.5, [], {}])


@pytest.mark.parametrize("command", [ReadEvents, JobLog])
def test_an_offset_is_an_integer_from_0(command: type[Command]) -> None:
    args = dict(GOOD)[command]
    takes(command, args, "offset", [0, 1, 2**63 - 1])
    refuses(command, args, "offset", [-1, 2**63, 10**5000, True, False, 0.0, 1.5, "0", None, [], {}])


def test_a_reason_is_one_short_line() -> None:
    args = dict(GOOD)[HoldBackup]
    takes(HoldBackup, args, "reason", ["x", "before the upgrade: é, 日本", "x" * 200])
    refuses(
        HoldBackup, args, "reason", ["", "x" * 201, "a\nb", "a\0", "\x1b[2J", "\ud800", None, 5, True, [], {}]
    )


def test_the_end_of_a_hold_is_a_time_as_dbcalm_writes_it_or_none() -> None:
    args = dict(GOOD)[HoldBackup]
    takes(HoldBackup, args, "until", [None, "2026-11-23T03:00:00.000000Z"])
    wrong = ["", "2026-11-23", "2026-11-23T03:00:00Z", "2026-11-23T03:00:00.000000+00:00", "x" * 27]
    refuses(
        HoldBackup,
        args,
        "until",
        [*wrong, "2026-11-23T03:00:00.000000Z\n", "٢" * 4 + "-11-23", 5, True, [], {}],
    )


def test_a_clean_up_takes_a_list_of_ids_each_once() -> None:
    args = dict(GOOD)[CleanupBackups]
    for ids in ([], ["a"], [f"b{number}" for number in range(5000)]):
        assert CleanupBackups.from_args({**args, "ids": ids}) == CleanupBackups(JOB, tuple(ids), 3)
    for ids in (
        "monday",
        {"a": 1},
        None,
        5,
        ["a", "a"],
        [f"b{number}" for number in range(5001)],
        [5],
        [["a"]],
    ):
        with pytest.raises(InvalidCommand):
            CleanupBackups.from_args({**args, "ids": ids})
    for wrong in BAD_IDS:
        with pytest.raises(InvalidCommand, match="^each of ids must be "):
            CleanupBackups.from_args({**args, "ids": ["a", wrong]})


def test_examine_is_true_or_false() -> None:
    args = dict(GOOD)[ListBackups]
    takes(ListBackups, args, "examine", [True, False])
    refuses(ListBackups, args, "examine", [0, 1, None, "true", "", 1.0, [], {}])


def test_a_wait_is_a_number_of_seconds_up_to_25() -> None:
    args = dict(GOOD[4][1])
    takes(ReadEvents, args, "wait", [0, 0.0, 1, 24.999, 25])
    refuses(
        ReadEvents,
        args,
        "wait",
        [
            -0.001,
            25.001,
            26,
            10**5000,
            -(10**5000),
            float("nan"),
            float("inf"),
            True,
            False,
            "1",
            None,
            [],
            {},
        ],
    )


def test_commands_are_values_that_cannot_be_changed() -> None:
    for command, args in GOOD:
        made = command.from_args(args)
        assert made == command.from_args(args)
        for name in args:
            with pytest.raises(AttributeError):
                setattr(made, name, 1)
