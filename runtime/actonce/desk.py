"""Between a handler and the engine: the handler's side asks, the engine answers when it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from actonce.agent import Agent
from actonce.asking import ask, wait
from actonce.children import Children
from actonce.doubts import Doubts
from actonce.endpoints import Lines
from actonce.executor import Executor
from actonce.inbox import Inbox
from actonce.memory import Memory
from actonce.outbox import Outbox
from actonce.polls import Polls
from actonce.quotas import Quotas
from actonce.running import Gate, Run
from actonce.settings import Settings
from actonce.steps import Steps
from actonce.world import World

Answer = TypeVar("Answer")


def unwatched(what: str, run: Run, label: str) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the hands may use of a replica. From `outbox` to `polls`: touched only inside `ask` and `tell`; but for the
    pools of `quotas`, which are touched over there only. `memory` is read from anywhere.
    """

    world: World
    settings: Settings
    agent: Agent
    gate: Gate
    outbox: Outbox
    executor: Executor
    steps: Steps
    inbox: Inbox
    children: Children
    quotas: Quotas
    memory: Memory
    doubts: Doubts
    polls: Polls
    lines: Lines = field(default_factory=Lines)
    """The ways to the sinks. Over there only."""
    watch: Callable[[str, Run, str], None] = unwatched
    """Told over at the hands what becomes of a step: "step begun", "step ran", "step finished", with its label."""

    async def ask(self, call: Callable[[Callable[[Answer], None]], None]) -> Answer:
        """As `asking.ask`."""
        return await ask(self.world.hands, call)

    async def wait(self, call: Callable[[Callable[[], None]], None]) -> None:
        """The same for an answer without content."""
        await wait(self.world.hands, call)

    async def ask_unless(self, call: Callable[[Callable[[Answer], None]], Callable[[], None]]) -> Answer:
        """As `ask`, for what may take for ever: if the caller is cancelled, what `call` returned runs on the engine."""
        stops: list[Callable[[], None]] = []

        def stop() -> None:
            for one in stops:
                one()

        try:
            return await self.ask(lambda reply: stops.append(call(reply)))
        except BaseException:
            self.tell(stop)  # after the question, which may be on its way still
            raise

    async def draw(self, cap_s: float) -> float:
        """Some time below `cap_s`, from the randomness of the replica, which belongs to the engine's thread."""

        def drawn(reply: Callable[[float], None]) -> None:
            reply(self.world.rng.uniform(0.0, cap_s))

        return await self.ask(drawn)

    def tell(self, call: Callable[[], None]) -> None:
        """Run `call` on the engine soon."""
        self.world.hands.engine(call)
