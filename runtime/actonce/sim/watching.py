"""What the simulator writes down of a process beside faults and effects: steps, orders, rare branches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from actonce.engine import Engine
from actonce.messages import Append, Edit, Push, decode
from actonce.running import Run
from actonce.settling import Settled
from actonce.sim.history import History
from actonce.sim.world import SimWorld
from actonce_crdt.appends import lengthen

NOTED = {
    "takeovers": "takes ",
    "suspicions": "is silent",
    "given up": "stayed silent",
    "certain deaths": "is gone",
    "settled alone": Settled.ALONE.value,
    "settled by reunion": Settled.REUNION.value,
    "settled with a peer": Settled.PEER.value,
}
"""Rare branches, by words of the notes that the engine makes of them."""


def steps(history: History, world: SimWorld) -> Callable[[str, Run, str], None]:
    """For `Desk.watch`: the steps of this process."""

    def watch(what: str, run: Run, label: str) -> None:
        if not world.dead:
            history.add(what, world.process.pid, world.name, run.task, run.epoch, label)

    return watch


def facts(history: History, world: SimWorld, engine: Engine) -> None:
    """When a process reads what others have to go by."""
    cancels(history, world, engine)
    halts(history, world, engine)
    outcomes(history, world, engine)


def rights_forgotten(before: Engine | None, engine: Engine) -> Iterator[str]:
    """A process could have used rights that its successor, on the same journal, does not count as open: they had been
    handed out before that was on disk."""
    for key, slot in engine.quotas.slots.items():
        old = before.quotas.slots.get(key) if before is not None else None
        if old is None or old.account.holder != slot.account.holder or old.pool.closed:
            continue  # who leaves gives away what the pool had, and what comes later is not used any more
        same = not slot.account.resource.calendar or old.basin.period == slot.account.period
        usable = min(old.basin.total, max(0, slot.account.held))
        if same and usable > slot.account.open:
            name, opened = engine.me.name, slot.account.open
            yield f"{key}: {name} could use {usable} rights; after a crash it takes {opened} for open"


def cancels(history: History, world: SimWorld, engine: Engine) -> None:
    """When a process has read that a task is called off, wherever that was ordered."""
    changed = engine.claims.changed

    def looked(keys: Iterable[str]) -> None:
        keys = list(keys)
        changed(keys)
        for key in keys:
            state = engine.ledger.state.tasks.get(key)
            if state is not None and state.cancel is not None and not (state.done is not None and state.done.ok):
                history.add("cancel read", world.process.pid, world.name, key)

    engine.claims.changed = looked  # type: ignore[method-assign]


def damage(history: History, failures: list[str], name: str, *, lossy: bool, replaced: bool) -> None:
    """A process started on a damaged disk: if something durable was lost, it says so and goes on with a new journal; if
    not, it goes on with the old one."""
    history.sometimes["damages lossy" if lossy else "damages harmless"] += 1
    if lossy and not replaced:
        failures.append(f"{name}: durable rows of its journal are lost, and it goes on as if nothing had happened")
    if replaced and not lossy:
        failures.append(f"{name}: says that its journal is damaged, but nothing durable is lost")


def halts(history: History, world: SimWorld, engine: Engine) -> None:
    """When a process has read an emergency stop, and when that one is in force no more."""
    refresh, known = engine.control.changed, set[str]()

    def changed() -> None:
        refresh()
        controls = engine.ledger.state.controls
        now = {key for key in controls if any(one.mode == "halt" for one in controls[key].in_force)}
        for key in sorted(now ^ known):
            history.add("halt read" if key in now else "halt over", world.process.pid, world.name, key)
        known.clear()
        known.update(now)

    engine.control.changed = changed  # type: ignore[method-assign]


def outcomes(history: History, world: SimWorld, engine: Engine) -> None:
    """When, where and in which process the outcome of a task was first known; late ones have none."""
    changed = engine.inbox.changed

    def looked(keys: list[str]) -> None:
        changed(keys)
        for key in keys:
            state = engine.ledger.state.tasks.get(key)
            if state is not None and state.done is not None and key not in engine.ledger.state.late:
                history.outcomes.setdefault(key, (world.loop.time(), world.name, world.process.pid))

    engine.inbox.changed = looked  # type: ignore[method-assign]


def count(history: History, engine: Engine) -> None:
    """Add up the rare branches that a process went through."""
    sometimes = history.sometimes
    for name, times in engine.gossip.counts.items():
        if name in ("gaps", "overflows", "refused", "asks", "state_transfers_resumed"):
            sometimes[name] += times
    for slot in engine.quotas.slots.values():
        sometimes["transfers"] += slot.account.transfers
    if engine.quotas.slots:
        sometimes["quota waits"] += len(engine.quotas.waits)
    for _, text in engine.notes:
        for name, words in NOTED.items():
            sometimes[name] += words in text


def update_in(frame: bytes, author: int) -> bytes:
    """The update in a frame of this author; nothing if it carries none."""
    match decode(frame):
        case Push(update) | Edit(update, _):
            return update
        case Append(append):
            return lengthen(append, author)
        case _:
            return b""


def first_client(update: bytes) -> int:
    """Client id of the first block of an update: the only one, in what a replica pushes of its own."""
    client = shift = 0
    at = 2 if update[1] < 128 else 3  # after the number of clients and of its blocks
    while True:
        client |= (update[at] & 127) << shift
        if update[at] < 128:
            return client
        at, shift = at + 1, shift + 7
