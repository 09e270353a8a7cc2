"""Three real replicas, a real feed, a real lock server that is killed with SIGKILL and started again under load."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from .servers import Server, etcd_server, free_port, nats_server, running

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [str(ROOT / name) for name in ("crdt", "transports", "runtime")]
WAIT_S = 60.0
NAMES = "abc"

AGENT = """
import asyncio, os
from actonce import Agent, Context, HttpSink
agent = Agent("kevin")
agent.sink("room", HttpSink(os.environ["FEED"], timeout_s=0.5))

@agent.task("pay", guard="fenced")
async def pay(ctx: Context, number: int) -> int:
    await asyncio.sleep(0.02 * (number % 10))
    await ctx.post("room", {"n": number, "part": 1})
    await asyncio.sleep(0.02 * (number % 10))
    await ctx.post("room", {"n": number, "part": 2})
    return ctx.fence
"""


class Mesh:
    """The replicas and their feed. The feed never deduplicates, and the sink does not ask it."""

    def __init__(self, folder: Path, locks: str) -> None:
        self._folder, self._locks = folder, locks
        self._ports = {name: free_port() for name in NAMES}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._http = httpx.Client(trust_env=False, timeout=WAIT_S)
        self._pool = ThreadPoolExecutor(len(NAMES))
        (folder / "bot.py").write_text(AGENT)
        feed = self._start("feed", "feed", "--port", "0", "--quiet")
        assert feed.stdout is not None
        self.feed = feed.stdout.readline().split()[-1]

    def _start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(SOURCES), "FEED": getattr(self, "feed", "")}
        with (self._folder / f"{name}.log").open("a") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "actonce", *arguments],
                cwd=self._folder,
                env=environment,
                stdout=subprocess.PIPE if name == "feed" else log,
                stderr=log,
                text=True,
            )
        return self._processes[name]

    def start(self, name: str) -> None:
        join = [f"--join=127.0.0.1:{port}" for other, port in self._ports.items() if other != name]
        new = ["--new"] if name == NAMES[0] else []
        listen = f"127.0.0.1:{self._ports[name]}"
        self._start(name, "run", "bot.py:agent", "--name", name, "--listen", listen, "--lock", self._locks, *join, *new)

    def kill(self, name: str) -> None:
        self._processes[name].kill()
        self._processes[name].wait()

    def close(self) -> None:
        for name in self._processes:
            self.kill(name)
        for process in self._processes.values():
            process.communicate()
        self._http.close()
        self._pool.shutdown()

    def get(self, name: str, path: str) -> Any:
        """None when it does not answer (yet)."""
        try:
            return self._http.get(f"http://127.0.0.1:{self._ports[name]}{path}").json()
        except httpx.TransportError:
            return None

    def submit(self, number: int, names: str = NAMES) -> None:
        """To all at once, as a relay does."""
        body = {"kind": "pay", "payload": number, "key": str(number)}

        def one(name: str) -> int:
            url = f"http://127.0.0.1:{self._ports[name]}/submit"
            return httpx.post(url, json=body, trust_env=False, timeout=WAIT_S).status_code

        assert {200, 202} >= set(self._pool.map(one, names))

    def posts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._http.get(self.feed).json()
        return found

    def until(self, what: str, condition: Callable[[], object]) -> None:
        """Each look is a request, so this does not spin."""
        ends = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < ends, f"{what}: {json.dumps([self.get(name, '/status') for name in NAMES])}"

    def until_status(self, what: str, name: str, condition: Callable[[dict[str, Any]], object]) -> None:
        """Of one replica, which may not answer yet."""
        self.until(what, lambda: (status := self.get(name, "/status")) and condition(status))


@contextlib.contextmanager
def mesh_of(folder: Path, locks: str) -> Iterator[Mesh]:
    mesh = Mesh(folder, locks)
    try:
        for name in NAMES:
            mesh.start(name)
        for name in NAMES:
            mesh.until_status(f"{name} is there", name, lambda status: status["acting"])
            mesh.until_status(f"{name} sees all", name, lambda status: len(status["view"]["members"]) == len(NAMES))
        yield mesh
    finally:
        mesh.close()


@pytest.fixture(params=["nats", "etcd"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "locks").mkdir()
    with running({"nats": nats_server, "etcd": etcd_server}[request.param](tmp_path / "locks")) as server:
        yield server


def test_the_lock_service_is_killed_under_load(server: Server, tmp_path: Path) -> None:
    """Tasks wait, nothing doubles, `status` says why; a replica is killed meanwhile as well."""
    with mesh_of(tmp_path, server.url) as mesh:
        for number in range(30):
            mesh.submit(number)
        mesh.until("posts", lambda: len(mesh.posts()) >= 10)
        server.stop()
        for number in range(30, 45):
            mesh.submit(number)
        why = f"waiting for the lock service {server.url}: connection refused, since "
        for name in NAMES:
            mesh.until_status("it says why", name, lambda status: why in " ".join(status["degraded"]))
            mesh.until_status("its lease runs out", name, lambda status: status["locks"]["lease_s"] is None)
        explained = [mesh.get(name, "/explain/pay/44") for name in NAMES]
        assert all(facts["waits"].startswith("waiting for the lock service") for facts in explained)
        posted = len(mesh.posts())
        mesh.kill("b")
        mesh.until_status("b is given up", "a", lambda status: status["view"]["members"] == ["a", "c"])
        mesh.start("b")
        mesh.until_status("b is back", "a", lambda status: len(status["view"]["members"]) == len(NAMES))
        assert len(mesh.posts()) == posted, "something left without a lease"
        assert posted < 90
        server.start()
        for number in range(45, 60):
            mesh.submit(number)
        for name in NAMES:
            mesh.until_status("all is done", name, lambda status: status["tasks"]["done"] == 60)
            mesh.until_status("no trouble", name, lambda status: status["locks"]["trouble"] is None)
        check_posts(mesh)


def check_posts(mesh: Mesh) -> None:
    """Each effect once, in the order of fences; one that is missing stands in the list of doubts."""
    posts = mesh.posts()
    counts = Counter(post["key"] for post in posts)
    assert max(counts.values()) == 1, [key for key, count in counts.items() if count > 1]
    skipped = {f"{row['effect']}" for row in mesh.get("a", "/posts?limit=1000") if row["state"] == "skipped"}
    missing = {f"pay/{number}/#{part}" for number in range(60) for part in (1, 2)} - {key_of(post) for post in posts}
    assert missing <= skipped
    fences: dict[str, int] = {}
    for post in posts:
        task = key_of(post).rpartition("/")[0]
        assert post["fence"] >= fences.get(task, 1)
        fences[task] = post["fence"]


def key_of(post: dict[str, Any]) -> str:
    return str(post["key"]).strip('"').replace("%23", "#")
