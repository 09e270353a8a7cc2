"""What happens to three replicas that answer a room, and the verdict on what stands in the room afterwards.

Each replica hears every message. While the first two thirds are sent, one replica is killed with SIGKILL and started
again, and one is stopped with SIGSTOP for longer than suspicion and grace; then one is cut off from the others (but not
from the server) for longer than that. Then every message has one answer; with a device for each replica, those that
were sent during the cut may have two, one from each side.
"""

import asyncio
import json
import signal
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.lab.support import SOURCES
from tests.matrix.environment import FOLDER, TOKENS
from tests.matrix.synapse import FAST, Account, Synapse

from actonce.bench.rig import converge, until_whole
from actonce.demo.mesh import Mesh, Replica

Devices = Literal["shared", "own"]
AGENT = "tests.matrix.agent:agent"
NAMES = "abc"
AT_ONCE = 8
BUSY = 4
STOP_S = 4.0
LIMIT_S = 180.0
LOOK_S = 0.05


@dataclass(slots=True)
class Room:
    """The room, as the one who asks sees it: what was said, and all answers so far."""

    asker: Account
    id: str
    said: list[str] = field(default_factory=list)
    """Event ids of the messages."""
    answers: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Message -> event ids of its answers."""

    async def say(self, texts: Sequence[str]) -> list[str]:
        """The event ids."""
        room = asyncio.Semaphore(AT_ONCE)

        async def one(number: int, text: str) -> str:
            async with room:
                return await self.asker.say(self.id, text, number)

        first = len(self.said)
        new = await asyncio.gather(*(one(first + number, text) for number, text in enumerate(texts)))
        self.said += new
        return new

    async def listen(self) -> None:
        """For ever."""
        timeline = {"types": ["m.room.message"], "limit": 1000}
        params: dict[str, Any] = {"timeout": 10_000, "filter": json.dumps({"room": {"timeline": timeline}})}
        while True:
            batch = await self.asker.call("GET", "/sync", params=params)
            for event in batch.get("rooms", {}).get("join", {}).get(self.id, {}).get("timeline", {}).get("events", []):
                self.note(event)
            params["since"] = batch["next_batch"]

    def note(self, event: dict[str, Any]) -> None:
        """One event of the room."""
        to = event["content"].get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id")
        if to is not None:
            self.answers[to].add(event["event_id"])


@dataclass(slots=True)
class Story:
    """One run. `violations` has a sentence for whatever should not be."""

    mesh: Mesh
    room: Room
    devices: Sequence[Account]
    """That of each replica; the same for all, or one for each."""
    violations: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def is_shared(self) -> bool:
        """Whether the server throws away what two replicas send."""
        return len({device.device for device in self.devices}) == 1

    async def run(self, texts: Sequence[str], cut: Sequence[str]) -> None:
        """`texts` while one replica is killed and one is stopped, `cut` while one is cut off."""
        listening = asyncio.ensure_future(self.room.listen())
        try:
            await self._until("all replicas listen", self._all_listen)
            half = len(texts) // 2
            await self._killed(self.mesh.replicas[0], texts[:half])
            await self._stopped(self.mesh.replicas[1], texts[half:])
            await self._until_answered(self.room.said)
            apart = await self._apart(cut) if cut else []
            await self._verdict(apart)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _killed(self, victim: Replica, texts: Sequence[str]) -> None:
        quarter = len(texts) // 4
        await self.room.say(texts[:quarter])
        saying = asyncio.ensure_future(self.room.say(texts[quarter:]))
        await self._until_busy()
        await victim.child.kill()
        self.facts["open_at_kill"] = len(self._open())
        await asyncio.sleep(STOP_S / 2)
        await self.mesh.start(victim)
        await saying
        await until_whole(self.mesh)

    async def _stopped(self, victim: Replica, texts: Sequence[str]) -> None:
        saying = asyncio.ensure_future(self.room.say(texts))
        await self._until_busy()
        victim.child.signal(signal.SIGSTOP)
        self.facts["open_at_stop"] = len(self._open())
        await asyncio.sleep(STOP_S)
        victim.child.signal(signal.SIGCONT)
        await saying
        await until_whole(self.mesh)

    async def _apart(self, texts: Sequence[str]) -> list[str]:
        """What was said while the last replica was cut off."""
        self.mesh.cut()
        lone = self.mesh.replicas[-1]
        await self._until("both sides act alone", self._both_sides_act)
        said = await self.room.say(texts)
        await self._until_answered(said)
        await self._until_done(lone, len(self.room.said))
        await self._until_done(self.mesh.replicas[0], len(self.room.said))
        self.mesh.heal()
        await until_whole(self.mesh)
        return said

    async def _verdict(self, apart: Sequence[str]) -> None:
        digests = await converge(self.mesh, len(self.room.said))
        if digests != 1:
            self.violations.append(f"{digests} different digests at the end")
        for event in await self.room.asker.events(self.room.id):
            self.room.note(event)
        answers = self.room.answers
        counts = {message: len(answers[message]) for message in self.room.said}
        doubled = [message for message, count in counts.items() if count > 1]
        self.facts |= {
            "messages": len(counts),
            "answers": sum(counts.values()),
            "said_while_cut": len(apart),
            "doubled_while_cut": len(set(doubled) & set(apart)),
        }
        self.violations += [f"{message} has no answer" for message, count in counts.items() if not count]
        allowed = set() if self.is_shared else set(apart)
        self.violations += [f"{message} has {counts[message]} answers" for message in doubled if message not in allowed]
        self.violations += [f"an answer to {message}, which nobody said" for message in set(answers) - set(counts)]
        if not self.is_shared:
            await self._once_a_side(set(doubled) & set(apart))

    async def _once_a_side(self, doubled: set[str]) -> None:
        """A device sees the transaction ids of its own events, and of no others."""
        sides = [self.devices[:-1], self.devices[-1:]]
        by_side: list[dict[str, int]] = []
        for side in sides:
            sent: dict[str, int] = defaultdict(int)
            for device in side:
                for event in await device.events(self.room.id):
                    to = event["content"].get("m.relates_to", {}).get("m.in_reply_to", {}).get("event_id")
                    sent[to] += "transaction_id" in event.get("unsigned", {})
            by_side.append(sent)
        for message in sorted(doubled):
            counts = [sent[message] for sent in by_side]
            if counts != [1, 1]:
                self.violations.append(f"{message} was answered {counts} times by the two sides")

    async def until_member(self, account: Account) -> None:
        """The account has accepted our invitation."""

        async def member() -> bool:
            self.mesh.check()
            return (
                account.user in (await self.room.asker.call("GET", f"/rooms/{self.room.id}/joined_members"))["joined"]
            )

        await self._until(f"{account.user} joins the room", member)

    async def _all_listen(self) -> bool:
        return all((self.mesh.folder / f"{name}.matrix-position").exists() for name in NAMES)

    async def _both_sides_act(self) -> bool:
        expected = [NAMES[:-1], NAMES[:-1], NAMES[-1:]]
        statuses = [await replica.get("/status") for replica in self.mesh.replicas]
        return all(
            facts["acting"] and sorted(facts["view"]["members"]) == sorted(names)
            for facts, names in zip(statuses, expected, strict=True)
        )

    def _open(self) -> list[str]:
        return [message for message in self.room.said if not self.room.answers[message]]

    async def _until_busy(self) -> None:
        """The fault is to fall on work: messages wait for their answers."""

        async def busy() -> bool:
            return len(self._open()) >= BUSY

        await self._until("messages wait for answers", busy)

    async def _until_answered(self, messages: Sequence[str]) -> None:
        async def answered() -> bool:
            self.mesh.check()
            return all(self.room.answers[message] for message in messages)

        await self._until("every message has an answer", answered)

    async def _until_done(self, replica: Replica, tasks: int) -> None:
        async def done() -> bool:
            counts = (await replica.get("/status"))["tasks"]
            return bool(counts["done"] + counts["failed"] >= tasks)

        await self._until(f"{replica.name} has done all that was said", done)

    async def _until(self, what: str, condition: Callable[[], Awaitable[bool]]) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not await condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {LIMIT_S:g} s: {what}; see {self.mesh.folder}")
            await asyncio.sleep(LOOK_S)


async def tell(
    folder: Path, synapse: Synapse, devices: Devices, texts: Sequence[str], cut: Sequence[str], seed: int
) -> Story:
    """Accounts, a room, three replicas, the story, the verdict."""
    bot, user = f"bot-{devices}-{seed}", f"asker-{devices}-{seed}"
    await synapse.register(bot)
    await synapse.register(user)
    asker = await synapse.log_in(user)
    first = await synapse.log_in(bot)
    accounts = [first] * len(NAMES) if devices == "shared" else [first, *[await synapse.log_in(bot) for _ in NAMES[1:]]]
    room = (await asker.call("POST", "/createRoom", json={"preset": "private_chat"}))["room_id"]
    environment = {
        "PYTHONPATH": SOURCES,
        "MATRIX_HOMESERVER": synapse.url,
        "MATRIX_DEVICES": devices,
        "MATRIX_LIMIT": "1000000" if synapse.messages == FAST else "10",
        TOKENS: json.dumps({name: account.token for name, account in zip(NAMES, accounts, strict=True)}),
        FOLDER: str(folder),
    }
    async with Mesh(folder, len(NAMES), seed, AGENT, environment) as mesh:
        story = Story(mesh, Room(asker, room), accounts)
        await until_whole(mesh)
        await asker.call("POST", f"/rooms/{room}/invite", json={"user_id": first.user})
        await story.until_member(first)
        await story.run(texts, cut)
    return story
