"""Followers over real threads, sockets and disks: what they show and refuse, and what `status` says on both sides."""

import dataclasses
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from actonce import Agent, Context, Replica, follower_report
from actonce.engine import Engine
from actonce.errors import ConfigError, NotAMember, ReplicaFailed
from actonce.follower_report import MESH_MAX
from actonce.overlay_messages import Contact, Swap
from actonce.ownership import Member
from actonce.settings import LAN

pytestmark = pytest.mark.anyio
WAIT_S = 30
QUICK = dataclasses.replace(LAN, pulse_s=0.2)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def make_agent() -> Agent:
    agent = Agent("kevin")

    @agent.task("reply")
    async def reply(ctx: Context, payload: Any) -> Any:
        ctx.memory["last"] = payload
        return payload

    return agent


def replica(folder: Path, name: str, **options: Any) -> Replica:
    options = {"listen": "127.0.0.1:0", "settings": QUICK, **options}
    return Replica(make_agent(), name=name, data=folder / name, **options)


async def http(address: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"http://{address}{path}", data, {"Content-Type": "application/json"})

    def ask() -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return await anyio.to_thread.run_sync(ask)


async def digest(one: Replica) -> bytes:
    """Of its document."""
    return await one.inspect(lambda engine: engine.ledger.document.digest)


async def test_a_follower_shows_what_members_did_and_takes_nothing_in(tmp_path: Path) -> None:
    async with replica(tmp_path, "a", new=True) as member:
        homes = {"join": [member.address], "follow": True, "advertise": None}
        async with replica(tmp_path, "f", **homes) as near, replica(tmp_path, "g", **homes) as far:
            handle = await member.submit("reply", "hello", key="m1")
            with anyio.fail_after(WAIT_S):
                assert await near.handle(handle.id).result() == "hello"
                assert await far.handle(handle.id).result() == "hello"
                while (await http(near.address, "/readyz"))[0] != 200:
                    pass
            with pytest.raises(NotAMember, match=f"ask a member: a at {member.address}"):
                await near.submit("reply", "again")
            with pytest.raises(NotAMember):
                await near.control("pause")
            for path in ("/submit", "/control", "/cancel/reply/m1", "/roster", "/memory/last", "/quota/found"):
                code, answer = await http(near.address, path, {})
                assert (code, "only follows" in answer["error"]) == (409, True)
            with anyio.fail_after(WAIT_S):
                while await digest(near) != await digest(member):
                    pass
            _, ours = await http(near.address, "/status")
            assert ours["overlay"]["follows"]
            assert ours["degraded"] == []
            assert ours["tasks"]["done"] == 1
            assert "a" in ours["overlay"]["neighbours"]
            assert {"name": "a", "state": "member"}.items() <= ours["replicas"][1].items()
            _, theirs = await http(member.address, "/status")
            assert theirs["view"]["members"] == ["a"]
            assert set(theirs["overlay"]["neighbours"]) <= {"f", "g"}
            assert theirs["document"]["digest"] == ours["document"]["digest"]
            assert (await http(near.address, "/memory/last"))[0] == 200
            assert (await http(near.address, "/explain/reply/m1"))[1]["result"] == "hello"


async def test_what_makes_no_sense_together_is_refused(tmp_path: Path) -> None:
    for options in ({}, {"join": ["h:1"], "new": True}, {"join": ["h:1"], "witness": True}):
        with pytest.raises(ConfigError, match="only follows"):
            replica(tmp_path, "f", follow=True, **options)


async def test_an_address_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    for address in ("nonsense", "192.0.2.1:7420"):
        with pytest.raises(ReplicaFailed):
            async with replica(tmp_path, "f", follow=True, join=[address]):
                pass


async def test_a_neighbour_that_names_what_cannot_be_dialed_harms_nobody(tmp_path: Path) -> None:
    async with (
        replica(tmp_path, "a", new=True) as member,
        replica(tmp_path, "f", follow=True, join=[member.address]) as follower,
    ):
        with anyio.fail_after(WAIT_S):
            while not await member.inspect(lambda engine: list(engine.spread.views.active)):
                pass
        nowhere = tuple(Contact(f"x{n}", text, False) for n, text in enumerate(("nonsense", "192.0.2.1:1", "h:99999")))
        await member.inspect(lambda engine: engine.spread._send("f", Swap(nowhere, True)))
        with anyio.fail_after(WAIT_S):
            while await follower.inspect(lambda engine: len(engine.spread.views.known.passive)) < len(nowhere):
                pass
            while await follower.inspect(lambda engine: len(engine.spread.views.known.passive)) > 0:
                pass
        assert await follower.inspect(lambda engine: dict(engine.views.denials)) == {}
        handle = await member.submit("reply", "still here", key="m1")
        assert await follower.handle(handle.id).result(WAIT_S) == "still here"


async def test_the_journal_of_a_member_is_not_followed_on(tmp_path: Path) -> None:
    async with replica(tmp_path, "a", new=True) as member:
        await member.settled()
    with pytest.raises(ConfigError, match="this journal is a member's"):
        async with replica(tmp_path, "a", follow=True, join=["127.0.0.1:1"]):
            pass


async def test_a_follower_with_another_secret_says_so(tmp_path: Path) -> None:
    async with (
        replica(tmp_path, "a", new=True, secret=b"s" * 32) as member,
        replica(tmp_path, "f", follow=True, join=[member.address], secret=b"t" * 32) as follower,
    ):
        with anyio.fail_after(WAIT_S):
            while not await follower.inspect(lambda engine: dict(engine.views.denials)):
                pass
        denials = await follower.inspect(lambda engine: dict(engine.views.denials))
        assert "secret" in denials[member.address]
        assert await follower.inspect(lambda engine: not engine.spread.in_touch)


async def test_a_mesh_beyond_its_sensible_size_says_so(tmp_path: Path) -> None:
    def crowded(engine: Engine) -> list[str]:
        view = engine.membership.view
        try:
            others = {Member(f"m{index}", 1) for index in range(MESH_MAX)}
            engine.membership.view = dataclasses.replace(view, members=view.members | others)
            return follower_report.degraded(engine)
        finally:
            engine.membership.view = view

    async with replica(tmp_path, "a", new=True) as member:
        await member.settled()
        assert await member.inspect(follower_report.degraded) == []
        assert "run with --follow" in (await member.inspect(crowded))[0]
