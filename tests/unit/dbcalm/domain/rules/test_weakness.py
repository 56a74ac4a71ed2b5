"""Passwords that are easily guessed."""

import pytest

from dbcalm.domain.rules.passwords import weakness


@pytest.mark.parametrize(
    "password",
    [
        "", "secret", "eleven-char", "alice-alice-alice"[:14], "alice2026alice", "ALICE-is-here", "Password1234!",
        "aaaaaaaaaaaaaaaa", "121212121212", "Changeme-2026", "qwertzuiop123", "dbcalm-backups",
    ],
)  # fmt: skip
def test_what_is_guessed_first_is_weak(password: str) -> None:
    assert weakness(password, "alice")


@pytest.mark.parametrize(
    "password",
    ["correct horse battery staple", "7h1v-Kq2p-Xw9z", "Überraschungsei!", "alice likes long walks at dawn"],
)
def test_what_is_long_and_of_its_own_is_not(password: str) -> None:
    assert weakness(password, "alice") is None
