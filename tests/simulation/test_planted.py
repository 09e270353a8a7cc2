"""The scenarios can fail: each rule of the protocol, taken out, is missed by one of them."""

import asyncio
import math
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from actonce import membership
from actonce.envelopes import is_envelope
from actonce.journal import Row
from actonce.membership import Membership
from actonce.messages import Announce, decode
from actonce.outbox import Outbox
from actonce.peers import Peer
from actonce.settings import LAN
from actonce.settling import Settled
from actonce.sim.disk import SimJournal
from actonce.sim.process import Process

from .mesh import GIVEN_UP_S, SETTLE_S, Mesh, Plan, run
from .planted import settled_on_any_word
from .test_silence import paused_at_the_gate

POINTS = range(1, 51)
Scenario = Callable[[int], Coroutine[Any, Any, Mesh]]
Patch = Callable[[pytest.MonkeyPatch], None]


async def killed_at(point: int, delay_s: float = 0.02) -> Mesh:
    """Two tasks of `b`, which is killed at the n-th thing that it does; it comes back after all is done."""
    mesh = Mesh(1, "abc", Plan(work_s=(0.0, 0.02)))
    mesh.network.delay_s = (0.0002, delay_s)
    await mesh.form()
    victim = mesh.world("b")
    victim.crash_at = victim.points + point
    for nth in range(2):
        mesh.ask(mesh.key_of("b", nth=nth))
    await asyncio.sleep(0.5)
    mesh.kill("b")
    assert await mesh.quiet(), mesh.story()
    return mesh


async def killed_far_away(point: int) -> Mesh:
    """The same on slow links."""
    return await killed_at(point, 0.05)


async def older_journal(seed: int) -> Mesh:
    """a dies, b answers, b dies, a restarts on what it knew before; then b comes back."""
    mesh = Mesh(seed, "ab")
    await mesh.form()
    mesh.kill("a")
    mesh.ask("m", "b")
    assert await mesh.quiet(), mesh.story()
    mesh.kill("b")
    mesh.start("a")
    mesh.ask("m", "a")
    await asyncio.sleep(LAN.start_alone_after_s / 2)
    mesh.start("b")
    assert await mesh.quiet(), mesh.story()
    return mesh


async def cold_start(seed: int) -> Mesh:
    """All die with a task open, and start again at once."""
    mesh = Mesh(seed, "abc", Plan(work_s=(0.5, 1.0)))
    await mesh.form()
    mesh.ask("m")
    await asyncio.sleep(0.2)
    for name in mesh.names:
        mesh.kill(name)
    for name in mesh.names:
        mesh.start(name)
    assert await mesh.quiet(), mesh.story()
    if len(mesh.started) > 2:
        mesh.failures.append(f"taken up more than once: {mesh.started}")
    return mesh


async def hearsay(seed: int) -> Mesh:
    """c acts alone, and dies. a settled on its word, and lost it before c knew of that; then b came, and met a."""
    mesh = Mesh(seed, "abc")
    await mesh.form()
    mesh.kill("a")
    mesh.kill("b")
    c = mesh.nodes["c"].engine
    assert c is not None
    assert await mesh.until(lambda: c.membership.view.members == {c.me}, SETTLE_S)
    mesh.network.cut({"b"}, {"c"})
    inspect = mesh.network.inspect

    def cut_before_it_is_heard(process: Process, frame: bytes) -> None:
        inspect(process, frame)
        message = decode(frame) if process.name == "a" and not is_envelope(frame) else None
        if isinstance(message, Announce) and message.settled:
            mesh.network.cut({"a"}, {"c"})

    mesh.network.inspect = cut_before_it_is_heard
    a = mesh.start("a")
    assert await mesh.until(lambda: a.membership.settled is not None, SETTLE_S), mesh.story()
    mesh.ask("m", "c")
    assert await mesh.until(lambda: bool(mesh.feed.keys()), SETTLE_S), mesh.story()
    mesh.start("b")
    await asyncio.sleep(LAN.contact_window_s / 2)
    mesh.kill("c")
    mesh.network.drop("a", "c")
    await asyncio.sleep(2 * GIVEN_UP_S)
    mesh.ask("m", "a")
    await asyncio.sleep(GIVEN_UP_S)
    mesh.network.heal()
    mesh.start("c")
    assert await mesh.quiet(), mesh.story()
    return mesh


def a_first_view_of_oneself(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Membership, "_adopt", lambda self: self._change(frozenset({self.me}), frozenset()))


def no_promise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Membership, "act_until", lambda self: math.inf if self.settled else -math.inf)


def no_settling(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(membership, "try_settle", lambda *args: Settled.ALONE)


def no_flush(patch: pytest.MonkeyPatch) -> None:
    flush = Peer._flush

    def careless(self: Peer, now: float) -> None:
        flush(self, now)
        self.contact = self.echoed

    patch.setattr(Peer, "_flush", careless)


def no_acknowledgement_of_intents(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Outbox, "_safe_clock", lambda self, members: self._ledger.durable_clock)


def gossip_before_journal(patch: pytest.MonkeyPatch) -> None:
    append = SimJournal.append

    def impatient(self: SimJournal, rows: Sequence[Row], durable: Callable[[], None]) -> None:
        append(self, rows, lambda: None)
        durable()

    patch.setattr(SimJournal, "append", impatient)


def faults(scenario: Scenario, trials: range) -> list[str]:
    """What went wrong in all these trials."""
    found: list[str] = []
    for trial in trials:
        mesh = run(scenario, trial)
        found += [*mesh.twice(), *mesh.needless, *mesh.failures, *mesh.lost()]
    return found


PLANTED: list[tuple[Patch, Scenario, range]] = [
    (no_promise, paused_at_the_gate, range(3, 5)),
    (no_settling, older_journal, range(3)),
    (a_first_view_of_oneself, cold_start, range(3)),
    (settled_on_any_word, hearsay, range(3)),
    (no_flush, killed_at, POINTS),
    (no_acknowledgement_of_intents, killed_far_away, POINTS),
    (gossip_before_journal, killed_at, range(1, 5)),
]


@pytest.mark.parametrize(("patch", "scenario", "trials"), PLANTED, ids=[patch.__name__ for patch, _, _ in PLANTED])
def test_a_rule_taken_out_is_missed(
    patch: Patch, scenario: Scenario, trials: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch(monkeypatch)
    assert faults(scenario, trials) != []


CLEAN: list[Scenario] = [paused_at_the_gate, older_journal, cold_start, hearsay]


@pytest.mark.parametrize("scenario", CLEAN, ids=lambda it: it.__name__)
def test_with_all_rules_nothing_goes_wrong(scenario: Scenario) -> None:
    assert faults(scenario, range(5)) == []


def test_with_all_rules_nothing_goes_wrong_at_any_point() -> None:
    assert faults(killed_at, POINTS) == []
