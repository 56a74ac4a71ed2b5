"""Who may do what over HTTP: tokens, scopes, and the two ways to a token."""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from jose import jwt
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message

from dbcalm.api.tokens import LIFETIME, Tokens
from dbcalm.domain.model.entities import Caller, Grant
from dbcalm.domain.model.scopes import KNOWN, SCOPES
from dbcalm.domain.rules import passwords
from dbcalm.domain.services.assembly import Services
from dbcalm.errors import NotAuthenticated
from tests.support.dbcalm_fakes import KEY, FakeMysqlService, HandClock, manifest
from tests.support.served import SERVED, Served

SCOPED = [(each, each.scope) for each in SERVED if each.scope is not None]
MATRIX = pytest.mark.parametrize(("route", "scope"), SCOPED, ids=[each.name for each, _scope in SCOPED])
"""Every route that needs a token, as the routers have it."""

SignIn = Callable[..., dict[str, str]]


def call(http: TestClient, route: Served, **more: Any) -> Any:
    return http.request(route.method, route.path.replace("{id}", "x").replace("{pid}", "x"), **more)


def test_every_route_that_is_described_is_in_the_matrix_or_public(http: TestClient) -> None:
    assert isinstance(http.app, FastAPI)
    described = {
        f"{method.upper()} {path}": operation.get("x-scope")
        for path, methods in http.app.openapi()["paths"].items()
        for method, operation in methods.items()
    }
    assert described == {each.name: each.scope for each in SERVED}
    assert {name for name, scope in described.items() if scope is None} == {
        "POST /auth/authorize",
        "POST /auth/token",
        "GET /health",
    }


def test_every_scope_is_good_for_something() -> None:
    assert {scope for _route, scope in SCOPED} == set(SCOPES)


@MATRIX
@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer x", "Basic eDp5", "Token x", "Bearer a.b.c", "bearer  "]
)
def test_without_a_good_token_it_is_401_and_never_403(
    http: TestClient, route: Served, scope: str, header: str | None
) -> None:
    answer = call(http, route, headers={} if header is None else {"Authorization": header})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), scope
    assert "token" in answer.json()["detail"]


@MATRIX
def test_a_token_opens_the_routes_of_its_scopes_and_no_others(
    http: TestClient, route: Served, scope: str, sign_in: SignIn
) -> None:
    for held in KNOWN:
        opens = held in ("*", scope, f"{scope.split(':')[0]}:*")
        answer = call(http, route, headers=sign_in(held))
        assert (answer.status_code == 403) is not opens, (held, answer.text)
        if not opens:
            assert answer.json()["detail"] == f"this needs a token with the scope {scope}"


@MATRIX
def test_who_may_not_ask_is_not_told_how(
    http: TestClient, route: Served, scope: str, sign_in: SignIn
) -> None:
    ways: tuple[dict[str, Any], ...] = ({"params": {"page": "0"}},)
    if route.method in ("POST", "PUT"):
        no_json = {"content": b"{", "headers": {"content-type": "application/json"}}
        ways = ({"json": {"type": 7}}, no_json)
    other = sign_in("processes:read" if scope != "processes:read" else "clients:read")
    for wrong in ways:
        assert call(http, route, **wrong).status_code == 401
        headers = {**wrong.get("headers", {}), **other}
        assert call(http, route, **{**wrong, "headers": headers}).status_code == 403


@MATRIX
def test_a_strangers_body_is_not_read(http: TestClient, route: Served, scope: str) -> None:
    read: list[bytes] = []
    asyncio.run(_asked(http.app, route, read))
    assert read == [], scope


async def _asked(app: ASGIApp, route: Served, read: list[bytes]) -> None:
    """Ask without a token, and note in ``read`` what is taken of the body."""

    async def receive() -> Message:
        read.append(b"{}")
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            assert message["status"] == 401

    path = route.path.replace("{id}", "x").replace("{pid}", "x")
    headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
    scope = {
        "type": "http", "method": route.method, "path": path, "raw_path": path.encode(), "root_path": "",
        "scheme": "https", "query_string": b"", "headers": headers, "client": ("test", 1), "server": ("test", 1),
    }  # fmt: skip
    await app(scope, receive, send)


@pytest.fixture
def alice(services: Services, monkeypatch: pytest.MonkeyPatch) -> str:
    scheme = passwords._scheme().using(rounds=4)
    monkeypatch.setattr(passwords, "_scheme", lambda: scheme)
    services.users.add("test", "alice", "secret sentence")
    return "alice"


def signed_in(http: TestClient) -> str:
    answer = http.post("/auth/authorize", json={"username": "alice", "password": "secret sentence"})
    assert answer.status_code == 200
    return str(answer.json()["code"])


def test_a_person_gets_a_token_for_a_code_once(http: TestClient, alice: str) -> None:
    code = signed_in(http)
    request = {"grant_type": "authorization_code", "code": code}
    answer = http.post("/auth/token", json=request)
    assert answer.status_code == 200
    token = answer.json()
    assert (token["token_type"], token["expires_in"], token["scope"]) == ("bearer", 3600, "*")
    assert answer.headers["cache-control"] == "no-store"
    assert (
        http.get("/clients", headers={"Authorization": f"Bearer {token['access_token']}"}).status_code == 200
    )
    again = http.post("/auth/token", json=request)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert again.json()["detail"] == again.json()["error_description"]


def test_a_wrong_pair_is_401_without_the_password_anywhere(
    http: TestClient, alice: str, audit_log: pytest.LogCaptureFixture
) -> None:
    answer = http.post("/auth/authorize", json={"username": "alice", "password": "hunter2"})
    assert (answer.status_code, answer.json()) == (401, {"detail": "the user name or the password is wrong"})
    assert "hunter2" not in answer.text + audit_log.text
    assert "'alice' at testclient: sign in: refused" in audit_log.text


@pytest.mark.parametrize(
    "body",
    [
        {"username": "alice"},
        {"username": "alice", "password": 7},
        {"username": None, "password": "x"},
        {"username": "alice", "password": "hunter2" * 1000},
        {"username": "\ud800", "password": "x"},
        [],
        "hunter2",
    ],
)
def test_a_malformed_sign_in_is_422_without_an_echo(http: TestClient, body: Any) -> None:
    answer = http.post(
        "/auth/authorize", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)
    assert set(answer.json()["errors"][0]) == {"loc", "msg", "type"}
    assert "hunter2" not in answer.text


def test_failing_too_often_is_429_with_when_to_come_back(
    http: TestClient, alice: str, clock: HandClock
) -> None:
    for _ in range(5):
        assert http.post("/auth/authorize", json={"username": "alice", "password": "x"}).status_code == 401
    answer = http.post("/auth/authorize", json={"username": "alice", "password": "secret sentence"})
    assert answer.status_code == 429
    clock.time += int(answer.headers["retry-after"])
    assert signed_in(http)


@pytest.fixture
def client(services: Services, root: Caller) -> tuple[str, str]:
    made, secret = services.clients.add(root, "program", ["backups:*", "processes:read"])
    return made.id, secret


def test_a_program_gets_a_token_in_json_in_a_form_and_with_basic(
    http: TestClient, client: tuple[str, str]
) -> None:
    grant = {"grant_type": "client_credentials"}
    both = {**grant, "client_id": client[0], "client_secret": client[1]}
    for answer in (
        http.post("/auth/token", json=both),
        http.post("/auth/token", data=both),
        http.post("/auth/token", data=grant, auth=client),
        http.post("/auth/token", json=grant, auth=client),
        http.post("/auth/token", data={**both, "scope": ""}),
    ):
        assert (answer.status_code, answer.json()["scope"]) == (200, "backups:* processes:read")
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        assert http.get("/backups", headers=headers).status_code == 200
        assert http.get("/clients", headers=headers).status_code == 403


def test_a_token_can_be_had_for_less(http: TestClient, client: tuple[str, str]) -> None:
    wanted = {"grant_type": "client_credentials", "scope": "backups:read"}
    token = http.post("/auth/token", data=wanted, auth=client).json()
    assert token["scope"] == "backups:read"
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    assert http.get("/backups", headers=headers).status_code == 200
    assert http.get("/processes", headers=headers).status_code == 403
    for beyond in ("clients:read", "*", "nonsense", "backups:read clients:read"):
        answer = http.post("/auth/token", data={**wanted, "scope": beyond}, auth=client)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")


def test_an_empty_request_for_a_token_is_400(http: TestClient) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    for sent in ({}, {"json": None}, {"json": {}}, {"content": b"", "headers": form}):
        answer = http.post("/auth/token", **sent)  # type: ignore[arg-type]  # each takes another of them
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request"), sent


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": "password", "username": "a", "password": "b"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, "invalid_request"),
        ({"grant_type": "authorization_code", "code": ""}, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "wrong"}, "invalid_grant"),
        ({"grant_type": "client_credentials"}, "invalid_request"),
        ({"grant_type": "client_credentials", "client_id": "x"}, "invalid_request"),
        ({"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"}, "invalid_client"),
    ],
)
def test_what_earns_no_token_is_400(http: TestClient, body: dict[str, str], error: str) -> None:
    for answer in (http.post("/auth/token", json=body), http.post("/auth/token", data=body or {"x": "y"})):
        assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.parametrize(
    "body", [[], 7, "text", {"grant_type": 7}, {"grant_type": "authorization_code", "code": []}]
)
def test_a_malformed_request_for_a_token_is_422(http: TestClient, body: Any) -> None:
    assert http.post("/auth/token", json=body).status_code == 422
    assert (
        http.post("/auth/token", content=b"{", headers={"content-type": "application/json"}).status_code
        == 422
    )


@pytest.mark.parametrize(
    "basic", ["%%%", "", base64.b64encode(b"\xff:x").decode(), base64.b64encode(b"x").decode()]
)
def test_a_malformed_basic_header_is_400(http: TestClient, basic: str) -> None:
    answer = http.post(
        "/auth/token", data={"grant_type": "client_credentials"}, headers={"Authorization": f"Basic {basic}"}
    )
    assert answer.status_code == 400


def test_a_deleted_client_is_out_at_once(http: TestClient, services: Services, root: Caller) -> None:
    client, secret = services.clients.add(root, "program", None)
    token = http.post(
        "/auth/token", data={"grant_type": "client_credentials"}, auth=(client.id, secret)
    ).json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    assert http.delete(f"/clients/{client.id}", headers=headers).status_code == 204
    answer = http.get("/backups", headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


CLAIMS = {
    "iss": "dbcalm",
    "aud": "dbcalm-api",
    "sub": "client:x",
    "iat": int(time.time()),
    "exp": int(time.time()) + 86_400,
    "jti": "1",
    "scope": "*",
    "generation": 1,
}
"""Good for a day: tokens are made of them when tests are collected, and read when their turn comes."""


def test_the_claims_that_a_forger_would_have_to_make_are_enough(tokens: Tokens) -> None:
    assert tokens.read(jwt.encode(CLAIMS, KEY.decode(), "HS256")) == Grant("client:x", 1, ("*",))


FORGED: dict[str, str] = {
    "another key": jwt.encode(CLAIMS, "x" * 32, "HS256"),
    "another algorithm": jwt.encode(CLAIMS, KEY.decode(), "HS512"),
    "no algorithm": ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
        for part in ({"alg": "none", "typ": "JWT"}, CLAIMS)
    )
    + ".",
    "expired": jwt.encode({**CLAIMS, "exp": int(time.time()) - 1}, KEY.decode(), "HS256"),
    "another issuer": jwt.encode({**CLAIMS, "iss": "other"}, KEY.decode(), "HS256"),
    "another audience": jwt.encode({**CLAIMS, "aud": "other"}, KEY.decode(), "HS256"),
    "a number as subject": jwt.encode({**CLAIMS, "sub": 1}, KEY.decode(), "HS256"),
    "scopes of another kind": jwt.encode({**CLAIMS, "scope": ["*"]}, KEY.decode(), "HS256"),
    "a head too deep to read": ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode()
        for part in (b'{"alg":"HS256","x":' + b"[" * 5000 + b"]" * 5000 + b"}", b"{}", b"sig")
    ),
    "a time without end": jwt.encode({**CLAIMS, "exp": float("inf")}, KEY.decode(), "HS256"),
    "a time that is none": jwt.encode({**CLAIMS, "exp": "soon"}, KEY.decode(), "HS256"),
    **{
        f"without {claim}": jwt.encode({k: v for k, v in CLAIMS.items() if k != claim}, KEY.decode(), "HS256")
        for claim in CLAIMS
    },
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_forged_tokens_are_refused(http: TestClient, tokens: Tokens, forged: str) -> None:
    with pytest.raises(NotAuthenticated):
        tokens.read(forged)
    assert http.get("/backups", headers={"Authorization": f"Bearer {forged}"}).status_code == 401


def test_every_changed_letter_of_a_token_breaks_it(tokens: Tokens) -> None:
    token = tokens.issue(Grant("client:x", 1, ("*",)))
    for place in range(len(token) - 1):
        letter = "A" if token[place] != "A" else "B"
        with pytest.raises(NotAuthenticated):
            tokens.read(token[:place] + letter + token[place + 1 :])


def test_a_token_that_was_read_before_still_expires(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tokens.issue(Grant("client:x", 1, ("*",)))
    tokens.read(token)
    now = time.time()
    monkeypatch.setattr("dbcalm.api.tokens.time.time", lambda: now + LIFETIME + 1)
    with pytest.raises(NotAuthenticated, match="expired"):
        tokens.read(token)


@pytest.mark.parametrize(
    "key", [b"1" * 32, b'{"keys": []}' + b" " * 20, b'["' + b"x" * 32 + b'"]', b"\xff" * 32]
)
def test_keys_are_taken_as_they_are(key: bytes) -> None:
    token = Tokens(key, "HS256").issue(Grant("client:x", 1, ("*",)))
    assert Tokens(key, "HS256").read(token).subject == "client:x"
    with pytest.raises(NotAuthenticated):
        Tokens(key[:-1] + b"!", "HS256").read(token)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_every_algorithm_of_the_configuration_works(algorithm: str) -> None:
    tokens = Tokens(KEY, algorithm)
    token = tokens.issue(Grant("user:1", 2, ("*",)))
    assert jwt.get_unverified_header(token)["alg"] == algorithm
    assert Tokens(KEY, algorithm).read(token) == Grant("user:1", 2, ("*",))


def test_not_more_tokens_are_remembered_than_fit(tokens: Tokens) -> None:
    for number in range(1100):
        tokens.read(tokens.issue(Grant(f"user:{number}", 1, ("*",))))
    assert len(tokens._verified) == 1024


def test_a_program_of_low_scope_cannot_make_a_stronger_one(http: TestClient, sign_in: SignIn) -> None:
    low = sign_in("clients:write", "backups:read")
    assert http.post("/clients", json={"label": "x"}, headers=low).json()["scopes"] == [
        "backups:read",
        "clients:write",
    ]
    answer = http.post("/clients", json={"label": "x", "scopes": ["*"]}, headers=low)
    assert answer.status_code == 403


def test_a_token_of_less_cannot_make_what_its_client_could(
    http: TestClient, services: Services, tokens: Tokens, root: Caller
) -> None:
    client, _secret = services.clients.add(root, "strong", ["*"])
    token = tokens.issue(Grant(f"client:{client.id}", 1, ("clients:write",)))
    answer = http.post("/clients", json={"label": "x"}, headers={"Authorization": f"Bearer {token}"})
    assert answer.json()["scopes"] == ["clients:write"]


def test_the_caller_is_named_in_the_audit_log(
    http: TestClient, sign_in: SignIn, mysql: FakeMysqlService, audit_log: pytest.LogCaptureFixture
) -> None:
    mysql.on_disk = {"one": manifest("one", 1)}
    headers = sign_in("*")
    audit_log.clear()
    job = http.post("/backups", json={"type": "full"}, headers=headers).json()["pid"]
    [record] = audit_log.records
    assert record.getMessage().startswith("client ")
    assert record.getMessage().endswith(f": make full backup: began, job {job}")


def test_a_subject_that_the_catalogue_cannot_hold_is_nobody(http: TestClient) -> None:
    forged = jwt.encode({**CLAIMS, "sub": "user:" + "9" * 30}, KEY.decode(), "HS256")
    assert http.get("/backups", headers={"Authorization": f"Bearer {forged}"}).status_code == 401


def test_a_token_holds_only_scopes_that_exist(http: TestClient, services: Services) -> None:
    client, secret = services.clients.add(Caller("test", ("*",)), "all", ("*",))
    body = {
        "grant_type": "client_credentials",
        "client_id": client.id,
        "client_secret": secret,
        "scope": "bogus",
    }
    assert http.post("/auth/token", json=body).status_code == 400
