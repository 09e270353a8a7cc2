"""The examples, as users run them: replicas in this process, a real feed. `tests.matrix` has the one for Matrix."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from actonce import Replica
from actonce.demo.feed import Feed, Post
from actonce.loading import load_agent

pytestmark = pytest.mark.anyio
EXAMPLES = Path(__file__).resolve().parents[2] / "runtime" / "examples"
NAMES = "ab"
WAIT_S = 60


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Posts:
    """What came to the feed, and a way to wait for it."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.at: dict[Any, float] = {}
        """First value of a body -> unix seconds."""
        self._came = asyncio.Event()

    def note(self, post: Post) -> None:
        self.bodies.append(post.body)
        self.at[next(iter(post.body.values()))] = post.at
        self._came.set()

    async def until(self, count: int, key: str) -> list[Any]:
        """So many posts that have this field; its values."""
        async with asyncio.timeout(WAIT_S):
            while len(found := [body[key] for body in self.bodies if key in body]) < count:
                self._came.clear()
                await self._came.wait()
        return found


@asynccontextmanager
async def mesh(example: str, folder: Path) -> AsyncIterator[AsyncExitStack]:
    """Two replicas of an example; one of them leaves when the stack that is given closes."""
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        stacks, joins = [first, second], list[str]()
        for name, stack in zip(NAMES, stacks, strict=True):
            agent = load_agent(f"{EXAMPLES / example}:agent")  # each its own, as each process has
            for sink in agent.sinks.values():
                stack.push_async_callback(sink.aclose)
            options = {"new": not joins, "join": joins, "listen": "127.0.0.1:0"}
            replica = Replica(agent, name=name, data=folder / name, **options)  # type: ignore[arg-type]
            await stack.enter_async_context(replica)
            joins = [replica.address]
        yield second


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_every_example_loads(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATRIX_TOKEN", "token")
    agent = load_agent(f"{example}:agent")
    agent.check()
    assert agent.tasks


async def test_the_feed_bot_posts_each_entry_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, file, posts = datetime.now(UTC), tmp_path / "calendar.jsonl", Posts()
    monkeypatch.setenv("CALENDAR", str(file))
    ids = [f"e{number}" for number in range(8)]
    entries = [{"id": id_, "text": f"text {id_}", "at": (now - timedelta(minutes=1)).isoformat()} for id_ in ids]
    entries[3]["at"] = (now + timedelta(seconds=2)).isoformat()
    others = [
        {"id": "late", "text": "late", "at": (now - timedelta(days=2)).isoformat()},
        {"id": "no-zone", "text": "x", "at": "2026-11-21T08:00:00"},
        {"id": "no-time", "text": "x"},
        ["no object"],
    ]
    lines = [json.dumps(entry) for entry in [*others, *entries]]
    file.write_text("\n".join(["no JSON", *lines, '{"id": "cut sho']))
    async with Feed(on_post=posts.note) as feed:
        monkeypatch.setenv("FEED_URL", f"{feed.url}/posts")
        async with mesh("feed_agent.py", tmp_path) as leaving:
            await posts.until(len(ids), "status")
            await leaving.aclose()
            with file.open("a") as calendar:
                calendar.write(f'rt", "text": "the last", "at": "{now.isoformat()}"}}\n')
            texts = await posts.until(len(ids) + 1, "status")
    assert sorted(texts) == sorted([*(f"text {id_}" for id_ in ids), "the last"])
    assert posts.at["text e3"] >= datetime.fromisoformat(entries[3]["at"]).timestamp()


async def test_the_cron_digest_posts_each_slot_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posts = Posts()
    monkeypatch.setenv("DIGEST_CRON", "* * * * * *")
    async with Feed(on_post=posts.note) as feed:
        monkeypatch.setenv("FEED_URL", f"{feed.url}/posts")
        async with mesh("digest_agent.py", tmp_path) as leaving:
            await posts.until(2, "digest")
            await leaving.aclose()
            slots = await posts.until(5, "digest")
    assert len(set(slots)) == len(slots)
    seconds = sorted(int(datetime.fromisoformat(slot).timestamp()) for slot in slots)
    assert seconds == list(range(seconds[0], seconds[-1] + 1))
    counts = {post["digest"]: post["posts"].get("digest", 0) for post in posts.bodies if "digest" in post}
    assert [counts[slot] for slot in sorted(counts)] == sorted(counts.values())
    assert 0 < counts[max(counts)] < len(counts)  # those that had come before its second
