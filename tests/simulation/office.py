"""Replicas whose handlers talk, for tests of orders."""

from __future__ import annotations

from actonce.control import Ordered
from actonce.settings import Settings
from actonce.sim import ordering
from actonce.sim.cluster import Cluster
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce.standing import Target

from .planted_control import SETTINGS, make_agent

AGENT = Target()


class Office(Cluster):
    """Replicas that talk."""

    def __init__(self, seed: int, names: str, settings: Settings = SETTINGS) -> None:
        super().__init__(seed, names, make_agent, settings, roster=tuple(names))
        self.answers: list[Ordered] = []

    async def form(self) -> None:
        for index, name in enumerate(self.nodes):
            self.start(name, new=index == 0)
        size = len(self.nodes)
        assert await self.until(lambda: all(len(e.membership.view.members) == size for e in self.live()), 10.0)
        assert await self.until(lambda: all(e.electorate.votes for e in self.live()), 10.0)

    def talk(self, count: int, work_s: float = 0.3, kind: str = "talks", start: int = 0) -> None:
        names = sorted(self.nodes)
        for number in range(start, start + count):
            self.submit(names[number % len(names)], kind, {"work_s": work_s}, f"k{number}")

    def order(self, name: str, mode: str, target: Target = AGENT) -> None:
        self.engine(name).control.order(target, mode, "", self.answers.append)

    async def answered(self, timeout_s: float = 5.0) -> Ordered:
        count = len(self.answers)
        assert await self.until(lambda: len(self.answers) > count or count > 0, timeout_s)
        return self.answers.pop()

    async def done(self, timeout_s: float = 60.0) -> bool:
        return await self.until(lambda: all(not e.claims.open for e in self.live()) and self.converged(), timeout_s)

    def begins(self) -> list[tuple[str, str]]:
        return [(str(event.facts[0]), str(event.facts[1])) for event in self.history.of("begin")]

    def publishes(self) -> int:
        return sum(1 for _ in self.history.of("publish"))


def broken(cluster: Cluster) -> list[str]:
    return [text for checker in (*SAFETY, *ordering.SAFETY, *LIVENESS) for text in checker(cluster)]
