"""What holds for every answer: the form of errors, limits, headers, and the documentation."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from dbcalm import errors
from dbcalm.api import examples, openapi
from dbcalm.api.failures import STATUS
from dbcalm.domain.services.assembly import Services
from tests.support.served import SERVED

ROUTES = {(each.method, each.path): each for each in SERVED}


def subclasses(error: type[errors.DBCalmError]) -> Iterator[type[errors.DBCalmError]]:
    for subclass in error.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def test_every_error_that_can_be_raised_has_a_status() -> None:
    bases = {errors.AccessError}
    assert set(STATUS) == set(subclasses(errors.DBCalmError)) - bases


def test_the_tree_that_is_drawn_is_the_tree_that_is_there() -> None:
    parents = {-1: errors.DBCalmError}
    drawn = set()
    for branch in re.finditer(r"^([│ ]*)[├└]── (\w+)", errors.__doc__ or "", re.MULTILINE):
        depth, error = len(branch.group(1)) // 4, getattr(errors, branch.group(2))
        assert error.__base__ is parents[depth - 1]
        parents[depth] = error
        drawn.add(error)
    assert drawn == set(subclasses(errors.DBCalmError))


def test_errors_know_nothing_of_http() -> None:
    assert not re.search(
        r"\b[45]\d\d\b|HTTPStatus|status_code", Path(errors.__file__).read_text(encoding="utf-8")
    )


def test_unknown_addresses_and_methods_are_errors_like_others(api: TestClient) -> None:
    for path in (
        "/",
        "/backup",
        "/backups/",
        "/backups/a/b",
        "/docs/static/nothing",
        "/docs/static/../app.py",
    ):
        answer = api.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
        assert isinstance(answer.json()["detail"], str)
    answer = api.put("/backups", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("path", ["/backups", "/auth/token", "/nowhere"])
def test_a_large_body_is_refused(api: TestClient, path: str) -> None:
    answer = api.post(path, content=b"x" * (10 << 20), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (413, "the body is larger than 64 KiB")


def test_a_large_body_in_pieces_is_refused(api: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            yield b"x" * 1024

    answer = api.post("/backups", content=pieces(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["status"]) == (413, "the body is larger than 64 KiB")


def test_long_addresses_and_headers_are_refused(api: TestClient) -> None:
    answer = api.get("/backups?query=" + "x" * 17_000)
    assert (answer.status_code, answer.json()["detail"]) == (414, "the address is longer than 16 KiB")
    answer = api.get("/backups", headers={"X-Long": "x" * 17_000})
    assert (answer.status_code, answer.json()["detail"]) == (431, "the headers are larger than 16 KiB")


def test_a_body_within_the_limit_is_read(api: TestClient) -> None:
    body = b'{"type": "full", "more": "' + b"x" * 60_000 + b'"}'
    assert api.post("/backups", content=body, headers={"content-type": "application/json"}).status_code == 202


@pytest.fixture
def failing(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_query: object) -> None:
        raise RuntimeError("SELECT password FROM users")

    monkeypatch.setattr(services.backups, "list", fail)


ORIGIN = {"Origin": "https://ui.example.org"}


@pytest.mark.usefixtures("failing")
def test_what_nobody_expected_is_500_without_its_cause(
    api: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer = api.get("/backups", headers=ORIGIN)
    assert (answer.status_code, answer.json()) == (
        500,
        {"detail": "DBCalm failed to answer; its log says why"},
    )
    assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]
    assert "SELECT password" in caplog.text


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/clients", 200),
        ("GET", "/clients?query=x", 400),
        ("GET", "/nowhere", 404),
        ("PUT", "/backups", 405),
        ("POST", "/backups", 422),
        ("GET", "/backups", 500),
        ("GET", "/health", 200),
    ],
)
def test_every_answer_has_cors_headers(api: TestClient, method: str, path: str, status: int) -> None:
    answer = api.request(method, path, headers=ORIGIN)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == ORIGIN["Origin"]
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert (
        "access-control-allow-origin"
        not in api.request(method, path, headers={"Origin": "https://evil"}).headers
    )


def test_401_and_413_have_cors_headers(http: TestClient) -> None:
    assert http.get("/backups", headers=ORIGIN).headers["access-control-allow-origin"] == ORIGIN["Origin"]
    answer = http.post("/backups", content=b"x" * 100_000, headers=ORIGIN)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (413, ORIGIN["Origin"])


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_a_browser_may_ask_with_a_token(http: TestClient, method: str) -> None:
    answer = http.options(
        "/backups",
        headers={
            **ORIGIN,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "authorization,content-type",
        },
    )
    assert answer.status_code == 200
    assert method in answer.headers["access-control-allow-methods"]


def test_answers_are_not_kept_and_not_guessed_at(api: TestClient) -> None:
    for answer in (api.get("/backups"), api.get("/nowhere"), api.get("/health")):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_too_many_requests_at_once_are_turned_away(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbcalm.api.guard._MOST_AT_ONCE", 0)
    answer = api.get("/health")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_health_needs_no_token(http: TestClient) -> None:
    answer = http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.fixture
def description(http: TestClient) -> dict[str, Any]:
    answer = http.get("/openapi.json")
    assert answer.status_code == 200
    return dict(answer.json())


def test_every_operation_is_documented_whole(description: dict[str, Any]) -> None:
    ids = []
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            where = f"{method} {path}"
            route = ROUTES[method.upper(), path]
            ids.append(operation["operationId"])
            assert operation["summary"], where
            assert not operation["summary"].endswith("."), where
            assert operation["description"], where
            assert operation["tags"], where
            responses = operation["responses"]
            if route.scope is not None:
                assert {"401", "403"} <= set(responses), where
                assert operation["security"] == [{"client": [route.scope]}, {"token": []}], where
            for status, response in responses.items():
                if status == "204":
                    assert "content" not in response, where
                    continue
                [kind] = response["content"]
                streams = where == "get /processes/{id}/events" and status == "200"
                assert kind == ("text/event-stream" if streams else "application/json"), where
                content = response["content"][kind]
                assert "example" in content or content["examples"], (where, status)
                if int(status) >= 400:
                    assert content["schema"]["$ref"].rsplit("/", 1)[1] in ("Failure", "Invalid"), (
                        where,
                        status,
                    )
            if "requestBody" in operation:
                assert operation["requestBody"]["content"]["application/json"]["examples"], where
                assert "422" in responses, where
    assert len(ids) == len(set(ids))
    assert "HTTPValidationError" not in str(description)


def test_the_documented_statuses_are_those_of_the_contract(description: dict[str, Any]) -> None:
    found = {
        f"{method.upper()} {path}": set(operation["responses"]) - {"401", "403", "500"}
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    }
    assert found == {
        "POST /auth/authorize": {"200", "422", "429", "503"},
        "POST /auth/token": {"200", "400", "422", "429", "503"},
        "POST /backups": {"202", "404", "409", "422", "503", "507"},
        "GET /backups": {"200", "400", "422", "503"},
        "GET /backups/{id}": {"200", "404", "503"},
        "DELETE /backups/{id}": {"204", "404", "409", "503"},
        "PUT /backups/{id}/hold": {"200", "404", "409", "422", "503"},
        "DELETE /backups/{id}/hold": {"200", "404", "503"},
        "POST /backups/{id}/undelete": {"200", "404", "409", "422", "503"},
        "POST /backups/{id}/verify": {"202", "404", "409", "422", "503", "507"},
        "GET /trash": {"200", "503"},
        "POST /cleanup": {"202", "404", "409", "422", "503"},
        "GET /cleanup/preview": {"200", "422", "503"},
        "GET /ready": {"200", "503"},
        "GET /protection": {"200", "503"},
        "POST /restores": {"202", "404", "409", "422", "503", "507"},
        "GET /restores/{id}": {"200", "404", "503"},
        "GET /processes/{id}": {"200", "404", "503"},
        "GET /clients/{id}": {"200", "404", "503"},
        "POST /restore": {"202", "404", "409", "422", "503", "507"},
        "GET /replaced": {"200", "503"},
        "POST /replaced/{id}/bring-back": {"202", "404", "409", "503"},
        "GET /restores": {"200", "400", "422", "503"},
        "GET /processes": {"200", "400", "422", "503"},
        "GET /processes/{id}/events": {"200", "404", "422", "503"},
        "POST /processes/{id}/acknowledge": {"200", "404", "409", "503"},
        "DELETE /processes/{id}": {"202", "404", "409", "503"},
        "GET /status/{pid}": {"200", "404", "503"},
        "GET /schedules": {"200", "400", "422", "503"},
        "GET /schedules/{id}": {"200", "404", "503"},
        "POST /schedules": {"200", "400", "409", "422", "503"},
        "PUT /schedules/{id}": {"200", "400", "404", "409", "422", "503"},
        "DELETE /schedules/{id}": {"200", "400", "404", "503"},
        "GET /clients": {"200", "400", "422", "503"},
        "POST /clients": {"200", "422", "503"},
        "PUT /clients/{id}": {"200", "404", "422", "503"},
        "DELETE /clients/{id}": {"204", "404", "503"},
        "GET /health": {"200", "414"},
    }


def test_the_examples_of_lists_can_be_asked_for(api: TestClient, description: dict[str, Any]) -> None:
    shown = 0
    for path, operations in description["paths"].items():
        for parameter in operations.get("get", {}).get("parameters", []):
            for example in parameter.get("examples", {}).values():
                shown += 1
                assert api.get(path, params={parameter["name"]: example["value"]}).status_code == 200, example
    assert shown > 12


def test_examples_fit_the_schemas_that_they_stand_beside() -> None:
    for each in SERVED:
        if (model := each.route.response_model) is not None:
            status = each.route.status_code or 200
            model.model_validate(each.route.responses[status]["content"]["application/json"]["example"])
    assert set(examples.REFUSALS) == {
        error.__name__ for error in STATUS if not issubclass(error, errors.CannotStart | errors.InvalidField)
    }


def test_answers_fit_the_schemas_that_document_them(api: TestClient) -> None:
    started = api.post("/backups", json={"type": "full"}).json()
    made = api.post("/clients", json={"label": "x"}).json()
    for method, path, answer in (
        ("POST", "/backups", started),
        ("GET", "/status/{pid}", api.get(started["link"]).json()),
        ("GET", "/processes", api.get("/processes").json()),
        ("GET", "/clients", api.get("/clients").json()),
        ("POST", "/clients", made),
    ):
        model = ROUTES[method, path].route.response_model
        assert set(model.model_validate(answer).model_dump()) <= set(answer)


def test_the_description_says_how_to_get_a_token(description: dict[str, Any]) -> None:
    schemes = description["components"]["securitySchemes"]
    assert schemes["client"]["flows"]["clientCredentials"]["tokenUrl"] == "/auth/token"
    assert schemes["token"]["scheme"] == "bearer"


def test_the_page_of_the_documentation_needs_nothing_from_elsewhere(http: TestClient) -> None:
    page = http.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "<script>" not in page.text, "an inline script would need a hash in the policy"
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert assets
    for asset in assets:
        assert asset.startswith("/docs/static/")
        assert http.get(asset).status_code == 200
    assert "http" not in http.get("/docs/static/docs.js").text


@pytest.mark.parametrize("name", ["swagger-ui-bundle.js", "swagger-ui.css", "LICENSE"])
def test_the_page_ships_with_the_program(name: str) -> None:
    assert (openapi._STATIC / "swagger" / name).stat().st_size > 10_000
