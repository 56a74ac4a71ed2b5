"""Signing in, what earns a token, and what ends one."""

import threading

import pytest

from dbcalm.domain.model import scopes
from dbcalm.domain.model.entities import Caller
from dbcalm.domain.rules import passwords
from dbcalm.domain.rules.throttle import Throttle
from dbcalm.domain.services.assembly import Services
from dbcalm.errors import InvalidField, InvalidGrant, NotAuthenticated, Throttled, WrongCredentials
from tests.support.dbcalm_fakes import HandClock

HERE = "127.0.0.1"


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fewest rounds that the hash has: what is tested here is not how long it takes."""
    scheme = passwords._scheme().using(rounds=4)
    monkeypatch.setattr(passwords, "_scheme", lambda: scheme)
    monkeypatch.setattr(passwords, "_NOBODY", scheme.hash("nobody's"))


@pytest.fixture
def alice(services: Services) -> str:
    services.users.add("test", "alice", "secret sentence")
    return "alice"


def test_a_code_earns_one_grant(services: Services, alice: str) -> None:
    code = services.auth.authorize(alice, "secret sentence", HERE)
    grant = services.auth.redeem(code, HERE)
    assert grant.scopes == ("*",)
    assert services.auth.caller(grant.subject, grant.generation) == Caller("user alice", ("*",))
    with pytest.raises(InvalidGrant):
        services.auth.redeem(code, HERE)


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("alice", "wrong"),
        ("alice", ""),
        ("alice", "secret sentence\0"),
        ("nobody", "secret sentence"),
        ("", ""),
        ("al\0ice", "x"),
    ],
)
def test_a_wrong_pair_is_refused_alike(services: Services, alice: str, username: str, password: str) -> None:
    with pytest.raises(WrongCredentials, match="^the user name or the password is wrong$"):
        services.auth.authorize(username, password, HERE)


def test_a_code_lives_a_minute(services: Services, alice: str, clock: HandClock) -> None:
    codes = [services.auth.authorize(alice, "secret sentence", HERE) for _ in range(2)]
    clock.time += 59
    services.auth.redeem(codes[0], HERE)
    clock.time += 2
    with pytest.raises(InvalidGrant):
        services.auth.redeem(codes[1], HERE)


def test_a_code_works_once_also_in_a_race(services: Services, alice: str) -> None:
    code = services.auth.authorize(alice, "secret sentence", HERE)
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def redeem() -> None:
        barrier.wait()
        try:
            outcomes.append(services.auth.redeem(code, HERE).subject)
        except InvalidGrant:
            outcomes.append("refused")

    racers = [threading.Thread(target=redeem) for _ in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(outcomes) == ["refused"] * 7 + ["user:1"]


def test_a_new_password_ends_codes_and_tokens_of_before(services: Services, alice: str) -> None:
    grant = services.auth.redeem(services.auth.authorize(alice, "secret sentence", HERE), HERE)
    code = services.auth.authorize(alice, "secret sentence", HERE)
    services.users.update_password("test", alice, "another")
    with pytest.raises(NotAuthenticated):
        services.auth.caller(grant.subject, grant.generation)
    with pytest.raises(InvalidGrant):
        services.auth.redeem(code, HERE)
    new = services.auth.redeem(services.auth.authorize(alice, "another", HERE), HERE)
    assert services.auth.caller(new.subject, new.generation).name == "user alice"


def test_a_deleted_user_is_gone_at_once_and_the_next_of_that_name_is_another(
    services: Services, alice: str
) -> None:
    grant = services.auth.redeem(services.auth.authorize(alice, "secret sentence", HERE), HERE)
    services.users.delete("test", alice)
    services.users.add("test", alice, "secret sentence")
    with pytest.raises(NotAuthenticated):
        services.auth.caller(grant.subject, grant.generation)


@pytest.mark.parametrize("subject", ["user:x", "user:", "client:", "root", "", "user:-1", "user:²"])
def test_subjects_that_cannot_be_are_nobody(services: Services, subject: str) -> None:
    with pytest.raises(NotAuthenticated):
        services.auth.caller(subject, 1)


def test_a_client_gets_a_grant_of_its_scopes(services: Services, root: Caller) -> None:
    client, secret = services.clients.add(root, "look", ["backups:read"])
    grant = services.auth.client_grant(client.id, secret, HERE)
    assert grant.scopes == ("backups:read",)
    assert services.auth.caller(grant.subject, grant.generation).scopes == ("backups:read",)
    services.clients.delete(root, client.id)
    with pytest.raises(NotAuthenticated):
        services.auth.caller(grant.subject, grant.generation)


def test_secrets_are_long_and_kept_only_as_hashes(services: Services, root: Caller, database: object) -> None:
    client, secret = services.clients.add(root, "look", None)
    assert len(secret) == 43
    assert services.auth._clients.secret_hash(client.id) == passwords.hash_secret(secret) != secret
    with pytest.raises(InvalidGrant):
        services.auth.client_grant(client.id, secret + "x", HERE)
    with pytest.raises(InvalidGrant):
        services.auth.client_grant("unknown", secret, HERE)


def fail(services: Services, username: str, address: str = HERE) -> None:
    with pytest.raises(WrongCredentials):
        services.auth.authorize(username, "wrong", address)


def test_after_five_failures_an_account_waits_and_then_works_again(
    services: Services, alice: str, clock: HandClock
) -> None:
    for number in range(5):
        fail(services, alice, f"10.0.0.{number}")
    with pytest.raises(Throttled) as throttled:
        services.auth.authorize(alice, "secret sentence", "10.0.0.9")
    assert 1 <= throttled.value.retry_after <= 61
    clock.time += throttled.value.retry_after
    assert services.auth.authorize(alice, "secret sentence", HERE)


def test_after_twenty_failures_an_address_waits(services: Services, alice: str) -> None:
    for number in range(20):
        fail(services, f"guess {number}")
    with pytest.raises(Throttled):
        services.auth.authorize(alice, "secret sentence", HERE)
    with pytest.raises(Throttled):
        services.auth.redeem("x", HERE)
    assert services.auth.authorize(alice, "secret sentence", "10.0.0.1")


def test_success_forgets_failures(services: Services, alice: str) -> None:
    for _ in range(10):
        for _ in range(4):
            fail(services, alice)
        assert services.auth.authorize(alice, "secret sentence", HERE)


def test_a_client_is_locked_out_only_where_somebody_failed(services: Services, root: Caller) -> None:
    client, secret = services.clients.add(root, "look", None)
    for _ in range(5):
        with pytest.raises(InvalidGrant):
            services.auth.client_grant(client.id, "wrong", "10.6.6.6")
    with pytest.raises(Throttled):
        services.auth.client_grant(client.id, secret, "10.6.6.6")
    for _ in range(500):
        services.auth.client_grant(client.id, secret, HERE)


def test_waiting_attempts_do_not_prolong_the_wait(clock: HandClock) -> None:
    throttle = Throttle(clock)
    throttle.failed({"a": 1})
    for _ in range(59):
        clock.time += 1
        with pytest.raises(Throttled):
            throttle.check({"a": 1})
    clock.time += 1
    throttle.check({"a": 1})


def test_failures_of_ever_new_names_do_not_fill_the_memory(clock: HandClock) -> None:
    throttle = Throttle(clock)
    for number in range(12_000):
        throttle.failed({f"user {number}": 5})
    assert len(throttle._failures) == 10_000


@pytest.mark.parametrize("password", ["x", "ä" * 40, "x" * 73, "x" * 1024, " ", "🔒"])
def test_passwords_of_any_length_in_bytes(password: str) -> None:
    kept = passwords.hash_password(password)
    assert passwords.verify_password(password, kept)
    assert not passwords.verify_password(password[:-1] + "y", kept)


@pytest.mark.parametrize("password", ["", "a\0b", "x" * 1025])
def test_passwords_that_are_none(password: str) -> None:
    with pytest.raises(InvalidField, match="^password must have"):
        passwords.hash_password(password)


def test_a_hash_that_is_none_is_no_password() -> None:
    assert not passwords.verify_password("x", "garbage")
    assert not passwords.verify_password("x", None)
    assert not passwords.verify_secret("x", None)


@pytest.mark.parametrize(
    ("granted", "wanted", "allowed"),
    [
        (("*",), "backups:write", True),
        (("*",), "*", True),
        (("backups:*",), "backups:write", True),
        (("backups:*",), "backups:*", True),
        (("backups:*",), "*", False),
        (("backups:*",), "clients:read", False),
        (("backups:read",), "backups:read", True),
        (("backups:read",), "backups:write", False),
        (("backups:read", "backups:write"), "backups:*", False),
        ((), "backups:read", False),
    ],
)
def test_what_scopes_allow(granted: tuple[str, ...], wanted: str, allowed: bool) -> None:
    assert scopes.allows(granted, wanted) is allowed


@pytest.mark.parametrize("unknown", [[], ["backup:read"], ["backups:all"], ["**"], [""]])
def test_scopes_that_do_not_exist_are_refused(unknown: list[str]) -> None:
    with pytest.raises(InvalidField, match="^scopes must"):
        scopes.checked(unknown)


def test_an_unknown_user_costs_the_same_time(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    class Scheme:
        @staticmethod
        def verify(_password: str, kept: str) -> bool:
            compared.append(kept)
            return False

    monkeypatch.setattr(passwords, "_scheme", Scheme)
    fail(services, "nobody")
    assert compared == [passwords._NOBODY]


def test_the_hash_of_nobody_costs_what_new_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    scheme = passwords._scheme()
    assert scheme.from_string(passwords._NOBODY).rounds == scheme.default_rounds
