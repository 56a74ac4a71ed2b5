"""What a request costs that does nothing: a plain route of FastAPI, by the API's own server and certificate."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

from fastapi import FastAPI

from dbcalm.api.listener import listening_socket, tls_context
from dbcalm.api.server import serve
from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import Sandbox

PATH = "/constant"


@contextmanager
def bare(sandbox: Sandbox) -> Iterator[str]:
    """Serve it beside the sandbox's API; yield its address."""
    host = urlsplit(sandbox.facts.url).hostname
    files = [str(sandbox.layout.certificate), str(sandbox.layout.private_key)]
    program = [sys.executable, "-m", "dev.bench_lib.bare", *files]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            if not (port := process.stdout.readline().strip()):
                raise SandboxError("the bare application did not start")
            yield f"https://{host}:{port}"
        finally:
            process.send_signal(signal.SIGTERM)


def main(certificate: str, key: str) -> None:
    """Serve the one route on a port of the system's choice, which is printed, until SIGTERM."""
    app = FastAPI()

    @app.get(PATH)
    def constant() -> dict[str, str]:
        return {"status": "ok"}

    app.state.application = SimpleNamespace(streams=SimpleNamespace(stopping=threading.Event()))
    with listening_socket("127.0.0.1", 0) as listener:
        print(listener.getsockname()[1], flush=True)
        serve(app, listener, tls_context(Path(certificate), Path(key)), lambda: None)


if __name__ == "__main__":
    main(*sys.argv[1:])
