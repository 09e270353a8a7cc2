"""A real homeserver as a child process: Synapse on the loopback interface, with SQLite, in a folder of its own.

It lives in an environment of its own (`pip install matrix-synapse`): its licence is not ours, and so are its hundred
megabytes of dependencies. `ACTONCE_SYNAPSE_PYTHON` names the interpreter of that environment.
"""

import asyncio
import base64
import hashlib
import hmac
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

INTERPRETER = "ACTONCE_SYNAPSE_PYTHON"
SERVER_NAME = "localhost"
SECRET = "registration"
PASSWORD = "password"
START_LIMIT_S = 60.0
REQUEST_LIMIT_S = 60.0
LOOK_S = 0.1
PAGE = 500
FAST = "{per_second: 10000, burst_count: 10000}"
DEFAULT_MESSAGES = "{per_second: 0.2, burst_count: 10}"
"""How fast an account may write, where nobody configured it."""

CONFIG = """
server_name: "{name}"
pid_file: "{folder}/pid"
listeners: [{{port: {port}, type: http, tls: false, bind_addresses: ["127.0.0.1"], resources: [{{names: [client]}}]}}]
database: {{name: sqlite3, args: {{database: "{folder}/database"}}}}
media_store_path: "{folder}/media"
signing_key_path: "{folder}/signing.key"
log_config: "{folder}/log.yaml"
trusted_key_servers: []
suppress_key_server_warning: true
report_stats: false
registration_shared_secret: "{secret}"
macaroon_secret_key: "macaroon"
form_secret: "form"
rc_message: {messages}
rc_login: {{address: {fast}, account: {fast}, failed_attempts: {fast}}}
rc_registration: {fast}
"""
LOG = """
version: 1
formatters: {plain: {format: "%(asctime)s %(levelname)s %(name)s %(message)s"}}
handlers: {console: {class: logging.StreamHandler, formatter: plain}}
root: {level: WARNING, handlers: [console]}
disable_existing_loggers: false
"""


class Unavailable(Exception):
    """There is no Synapse on this machine. The message says how to get one."""


def interpreter() -> str:
    """The Python that can run Synapse.

    Raises:
        Unavailable: none was named, or it cannot.
    """
    python = os.environ.get(INTERPRETER, sys.executable)
    try:
        subprocess.run([python, "-c", "import synapse.app.homeserver"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise Unavailable(
            f"{python} cannot import synapse: make an environment with `pip install matrix-synapse`, "
            f"and name its interpreter in {INTERPRETER}"
        ) from None
    return python


@dataclass(slots=True)
class Account:
    """One device of one user."""

    url: str
    user: str
    token: str
    device: str
    client: httpx.AsyncClient = field(repr=False)

    async def call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """A request to the client-server API that must succeed."""
        answer = await self._request(method, path, **request)
        assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json()
        return found

    async def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return await self.client.request(method, f"{self.url}/_matrix/client/v3{path}", headers=headers, **request)

    async def say(self, room: str, text: str, number: int) -> str:
        """The event id of a message."""
        path = f"/rooms/{quote(room)}/send/m.room.message/said-{number}"
        while True:
            answer = await self._request("PUT", path, json={"msgtype": "m.text", "body": text})
            if answer.status_code != 429:
                assert answer.status_code == 200, answer.text
                event: str = answer.json()["event_id"]
                return event
            await asyncio.sleep(answer.json()["retry_after_ms"] / 1000)

    async def events(self, room: str) -> list[dict[str, Any]]:
        """All messages of a room, oldest first."""
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {"dir": "b", "limit": PAGE, "filter": '{"types": ["m.room.message"]}'}
        while True:
            page = await self.call("GET", f"/rooms/{quote(room)}/messages", params=params)
            found += page["chunk"]
            if "end" not in page:
                return found[::-1]
            params["from"] = page["end"]


class Synapse:
    """`async with homeserver(folder) as synapse`."""

    def __init__(self, folder: Path, port: int, messages: str, client: httpx.AsyncClient) -> None:
        self.messages = messages
        self.url = f"http://127.0.0.1:{port}"
        self._folder, self._port, self._client = folder, port, client
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, python: str) -> None:
        """Until it answers."""
        self._process = process = self._launch(python)
        log = self._folder / "synapse.log"
        deadline = time.monotonic() + START_LIMIT_S
        while not await self._answers():
            assert process.poll() is None, f"Synapse ended with status {process.returncode}: see {log}"
            assert time.monotonic() < deadline, f"Synapse does not answer after {START_LIMIT_S:g} s: see {log}"
            await asyncio.sleep(LOOK_S)

    def _launch(self, python: str) -> subprocess.Popen[bytes]:
        folder = self._folder
        folder.mkdir(parents=True)
        values = {"name": SERVER_NAME, "secret": SECRET, "fast": FAST, "messages": self.messages, "port": self._port}
        (folder / "homeserver.yaml").write_text(CONFIG.format(folder=folder, **values))
        (folder / "log.yaml").write_text(LOG)
        seed = base64.b64encode(os.urandom(32)).decode().rstrip("=")
        (folder / "signing.key").write_text(f"ed25519 a_test {seed}\n")
        command = [python, "-m", "synapse.app.homeserver", "-c", str(folder / "homeserver.yaml")]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with (folder / "synapse.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=folder)

    def stop(self) -> None:
        """At once: nobody needs its database any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    async def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return (await self._client.get(f"{self.url}/_matrix/client/versions")).status_code == 200
        return False

    async def register(self, user: str) -> None:
        """With the shared secret, as `register_new_matrix_user` does."""
        url = f"{self.url}/_synapse/admin/v1/register"
        nonce: str = (await self._client.get(url)).json()["nonce"]
        mac = hmac.new(SECRET.encode(), "\0".join((nonce, user, PASSWORD, "notadmin")).encode(), hashlib.sha1)
        body = {"nonce": nonce, "username": user, "password": PASSWORD, "admin": False, "mac": mac.hexdigest()}
        answer = await self._client.post(url, json=body)
        assert answer.status_code == 200, answer.text

    async def log_in(self, user: str) -> Account:
        """A new device of the user."""
        identifier = {"type": "m.id.user", "user": user}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        answer = await self._client.post(f"{self.url}/_matrix/client/v3/login", json=body)
        assert answer.status_code == 200, answer.text
        facts = answer.json()
        return Account(self.url, facts["user_id"], facts["access_token"], facts["device_id"], self._client)


@asynccontextmanager
async def homeserver(folder: Path, port: int, messages: str = FAST) -> AsyncIterator[Synapse]:
    """
    Args:
        messages: how fast each account may write, as Synapse is configured.

    Raises:
        Unavailable: see `interpreter`.
    """
    python = interpreter()
    async with httpx.AsyncClient(trust_env=False, timeout=REQUEST_LIMIT_S) as client:
        synapse = Synapse(folder, port, messages, client)
        try:
            await synapse.start(python)
            yield synapse
        finally:
            synapse.stop()
