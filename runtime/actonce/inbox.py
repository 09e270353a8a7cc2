"""Tasks coming in, and results going out.

`submit` is answered when the task is on disk here and read by one live peer, where there is one: then the death of
any one replica cannot lose it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actonce.agent import Agent
from actonce.errors import Draining, KeyReused, PayloadInvalid, PayloadTooLarge, UnknownKind
from actonce.ledger import Ledger
from actonce.membership import Membership
from actonce.naming import is_text
from actonce.placement import Way
from actonce.readiness import Terms
from actonce.settings import KEY_BYTES_MAX, PAYLOAD_BYTES_MAX
from actonce.standing import Standing
from actonce.world import World
from actonce_crdt import Done, Task, ValueInvalid, pack_value


@dataclass(frozen=True, slots=True)
class Submitted:
    """A task that is safe. `new` is False when it was known already, from here or from another replica."""

    task: str
    new: bool


def pack_payload(what: str, value: object) -> bytes:
    """Canonical bytes of a payload, an effect's body or a result; `what` it is, in messages, as "the payload".

    Raises:
        PayloadInvalid: it is not JSON-like; the message names the place.
        PayloadTooLarge: it has more than PAYLOAD_BYTES_MAX bytes.
    """
    try:
        packed = pack_value(value, name=what.removeprefix("the ").split()[0])
    except ValueInvalid as error:
        raise PayloadInvalid(f"{what} cannot be stored: {error}") from None
    if len(packed) > PAYLOAD_BYTES_MAX:
        raise PayloadTooLarge(f"{what} has {len(packed):,} bytes; the limit is {PAYLOAD_BYTES_MAX:,} bytes")
    return packed


def task_id(kind: str, key: object) -> str:
    """The deterministic id of a task: equal kind and key are one task, wherever they come in.

    Raises:
        PayloadInvalid: the key is empty, too long, or holds control characters.
    """
    if not isinstance(key, str) or not key or not key.isprintable():
        raise PayloadInvalid(f"key {key!r}: a key is printable text of at least one character")
    size = len(key.encode("utf-8", "replace"))
    if size > KEY_BYTES_MAX:
        raise PayloadInvalid(f"a key of {size} bytes; the limit is {KEY_BYTES_MAX} bytes")
    return f"{kind}/{key}"


class Inbox:
    """Submissions that wait to be safe, and callers that wait for outcomes."""

    def __init__(
        self, world: World, agent: Agent, ledger: Ledger, membership: Membership, standing: Standing
    ) -> None:
        self._standing = standing
        self._world, self._agent, self._ledger, self._membership = world, agent, ledger, membership
        self._pending: list[tuple[int, Submitted, Callable[[Submitted], None]]] = []
        self._waiting: dict[str, list[Callable[[Done], None]]] = {}

    def submit(
        self,
        kind: str,
        payload: bytes,
        key: str | None,
        reply: Callable[[Submitted], None],
        terms: Terms | None = None,
        *,
        first_counts: bool = False,
    ) -> None:
        """Take a task; `reply` comes when it is safe, which may be never: the caller brings a time limit.

        The terms of the first submission count; with `first_counts` its payload as well.

        Raises:
            UnknownKind: no handler of this agent has it.
            KeyReused: the key was used with another payload, and not `first_counts`.
            PayloadInvalid: the key cannot be one.
            Draining: new tasks of this kind are refused, by order.
            NotAMember: this replica only follows.
        """
        self._ledger.check_writes()
        if not is_text(kind) or kind not in self._agent.tasks or self._agent.tasks[kind].poll is not None:
            kinds = ", ".join(sorted(name for name, spec in self._agent.tasks.items() if spec.poll is None)) or "none"
            raise UnknownKind(f"agent {self._agent.name!r} has no handler for {kind!r}; it has: {kinds}")
        task = task_id(kind, key if key is not None else self._world.new_id())
        if self._agent.tasks[kind].placement.way is Way.LOCAL:
            task = f"{task}@{self._membership.me.name}"
        known_task = self._ledger.state.tasks.get(task)
        if known_task is not None and (known_task.task is not None or known_task.done is not None):
            if known_task.task is not None and known_task.task.payload != payload and not first_counts:
                raise KeyReused(f"key {key!r} was used before with another payload for {kind!r}")
            # Perhaps from a peer, and on its way to our disk: wait for all that is queued there.
            known = Submitted(task, new=False)
            self._world.journal.append([], lambda: self._wait(self._ledger.next_clock, known, reply))
        elif not self._standing.takes_in(kind):
            raise Draining(f"{kind} takes no new tasks: somebody ordered to drain; submit it after `actonce resume`")
        else:
            self._wait(self.add(task, kind, payload, terms or Terms()), Submitted(task, new=True), reply)

    def add(self, task: str, kind: str, payload: bytes, terms: Terms) -> int:
        """Write a task down, unless it is known; returns the clock that must be durable for it to be so."""
        state = self._ledger.state.tasks.get(task)
        if state is not None and (state.task is not None or state.done is not None):
            return self._ledger.next_clock
        me, stamp = self._membership.me.name, self._ledger.stamp()
        return self._ledger.write(
            Task(
                *(task, stamp, me, kind, payload, terms.priority, terms.not_before_ms),
                *(terms.after, terms.needs_ok, terms.parent),
            )
        )

    def when_kept(self, clock: int, kept: Submitted, reply: Callable[[Submitted], None]) -> None:
        """Reply once our entries below this clock are on disk, and read by one live peer where there is one."""
        self._wait(clock, kept, reply)

    def _wait(self, clock: int, submitted: Submitted, reply: Callable[[Submitted], None]) -> None:
        self._pending.append((clock, submitted, reply))
        self.pump()

    def result(self, task: str, reply: Callable[[Done], None]) -> Callable[[], None]:
        """Reply with the outcome of `task` once there is one. Returns how to stop waiting."""
        state = self._ledger.state.tasks.get(task)
        if state is not None and state.done is not None:
            reply(state.done)
            return _nothing
        self._waiting.setdefault(task, []).append(reply)
        return lambda: self._forget(task, reply)

    def _forget(self, task: str, reply: Callable[[Done], None]) -> None:
        waiting = self._waiting.get(task, [])
        if reply in waiting:
            waiting.remove(reply)
            if not waiting:
                del self._waiting[task]

    def changed(self, keys: list[str]) -> None:
        """Entries of these keys came: an outcome is told once it is on disk, or came from a peer's disk."""
        if self._waiting:
            for key in keys:
                state = self._ledger.state.tasks.get(key)
                if key in self._waiting and state is not None and state.done is not None:
                    for reply in self._waiting.pop(key):
                        self._ledger.when_durable(_telling(reply, state.done))

    def pump(self) -> None:
        """Disk or a peer made progress."""
        if self._pending and self._membership.settled is not None:
            safe = self._safe_clock()
            ready = [entry for entry in self._pending if entry[0] <= safe]
            if ready:
                self._pending = [entry for entry in self._pending if entry[0] > safe]
                for _, submitted, reply in ready:
                    reply(submitted)

    def _safe_clock(self) -> int:
        """Our entries below this clock are on disk here, and read by one live peer where there is one."""
        client, peers = self._ledger.client_id, self._membership.peers
        live = [member for member in self._membership.view.members if member != self._membership.me]
        read = [peers[member.name].read.get(client, 0) for member in live if member.name in peers]
        return min(self._ledger.durable_clock, max(read)) if read else self._ledger.durable_clock


def _telling(reply: Callable[[Done], None], done: Done) -> Callable[[], None]:
    return lambda: reply(done)


def _nothing() -> None:
    pass


