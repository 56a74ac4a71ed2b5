"""The API's description, read by tools that know nothing of DBCalm; and a client that one of them wrote, at work.

``dev/prepare strangers`` installs them: linters, and generators of clients for Python and TypeScript.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import Rig
from tests.support.patience import PATIENCE

pytestmark = pytest.mark.integration

CHECKOUT = Path(__file__).parents[2]
STRANGERS = CHECKOUT / "build" / "openapi"
SETTINGS = CHECKOUT / "dev" / "openapi"


def run(*command: str | Path, folder: Path, **environment: str) -> str:
    """Run one of the tools, which must succeed; return all that it said."""
    programs = f"{STRANGERS / 'node_modules' / '.bin'}:{STRANGERS / 'venv' / 'bin'}:{os.environ['PATH']}"
    quiet = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true", "NO_COLOR": "1"}
    done = subprocess.run(
        [str(each) for each in command],
        cwd=folder,
        env={**os.environ, **quiet, "PATH": programs, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def described(rig: Rig, tmp_path: Path) -> Path:
    """The description as the API serves it, in a file alone in its folder."""
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(rig.api.call("GET", "/openapi.json")), encoding="utf-8")
    return path


def test_redocly_finds_no_fault(described: Path) -> None:
    said = run(
        "redocly", "lint", described.name, "--extends=recommended", "--format=json", folder=described.parent
    )
    totals = json.loads(said[said.index("{") : said.rindex("}") + 1])["totals"]
    assert (totals["errors"], totals["warnings"]) == (0, 0), said


def test_spectral_finds_no_fault(described: Path) -> None:
    rules = SETTINGS / "spectral.yaml"
    run("spectral", "lint", "--fail-severity=hint", f"--ruleset={rules}", described, folder=described.parent)


def test_openapi_typescript_writes_what_compiles(described: Path) -> None:
    run("openapi-typescript", described, "--output=openapi.ts", folder=described.parent)
    compile_strictly(described.parent)


def test_hey_api_writes_what_compiles(described: Path) -> None:
    run("openapi-ts", "--input", described, "--output", "client", folder=described.parent)
    compile_strictly(described.parent)


def compile_strictly(folder: Path) -> None:
    """Compile all that is in the folder, as strictly as TypeScript can."""
    assert list(folder.rglob("*.ts")), "nothing was written"
    shutil.copy(SETTINGS / "tsconfig.json", folder)
    run("tsc", "--project", ".", folder=folder)


CLIENT = """
import json, ssl, sys, time
from client import AuthenticatedClient, Client
from client.api.auth import authorize, token
from client.api.backups import create_backup, get_backup
from client.api.cleanup import create_cleanup
from client.api.processes import get_process, get_status, list_processes
from client.api.restores import create_restore, get_restore, list_restores
from client.models import (
    BackupRequest, BackupRequestType, Process, RestoreRequest, RestoreRequestTarget, SignIn, Status, TokenRequest,
    TokenRequestGrantType,
)

facts = json.load(open(sys.argv[1]))
made = {"base_url": facts["url"], "verify_ssl": ssl.create_default_context(cafile=facts["ca"])}
client = Client(**made)
code = authorize.sync(client=client, body=SignIn(facts["username"], facts["password"])).code
person = TokenRequest(TokenRequestGrantType.AUTHORIZATION_CODE, code=code)
program = TokenRequest(
    TokenRequestGrantType.CLIENT_CREDENTIALS, client_id=facts["client_id"], client_secret=facts["client_secret"]
)
for wanted in (person, program):
    client = AuthenticatedClient(token=token.sync(client=Client(**made), body=wanted).access_token, **made)

    def end(job):
        while (now := get_status.sync(job.pid, client=client)).status is Status.RUNNING:
            time.sleep(0.2)
        assert now.status is Status.SUCCESS, now
        return now

    backup = end(create_backup.sync(client=client, body=BackupRequest(BackupRequestType.FULL))).resource_id
    assert get_backup.sync(backup, client=client).end_time
    restore = end(create_restore.sync(client=client, body=RestoreRequest(backup, RestoreRequestTarget.FOLDER)))
    newest = list_restores.sync(client=client).items[0]
    assert (newest.backup_id, get_restore.sync(str(newest.id), client=client)) == (backup, newest)
    end(create_cleanup.sync(client=client))
    processes = list_processes.sync(client=client).items
    assert all(isinstance(one, Process) and one.status is Status.SUCCESS for one in processes[:3])
    assert get_process.sync(restore.pid, client=client).type_ == "restore"
"""


def test_a_generated_client_backs_up_restores_and_cleans_up(rig: Rig, described: Path) -> None:
    folder = described.parent
    generate = (
        "generate",
        "--path",
        described,
        "--output-path",
        "client",
        "--meta=none",
        "--fail-on-warning",
    )
    assert "arning" not in run("openapi-python-client", *generate, folder=folder)
    (folder / "work.py").write_text(CLIENT, encoding="utf-8")
    facts = {
        name: getattr(rig.sandbox.facts, name)
        for name in ("url", "ca", "username", "password", "client_id", "client_secret")
    }
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    run("python", "-W", "error", "work.py", "facts.json", folder=folder)
