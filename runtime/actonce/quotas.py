"""All limited resources of one replica, on the engine: reserves blocks, moves rights, shares cool-downs.

Handlers never come here: they take from a `Pool`. Here rights are opened before they are needed, given to who needs
them more, and asked for. Transfers are made at most once in `Slot.interval_s` for a resource, however many tasks run.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from actonce.agent import Agent
from actonce.cooling import Cooling
from actonce.errors import ConfigError
from actonce.escrow import Account, gone
from actonce.ledger import Ledger
from actonce.limits import QuotaSpec
from actonce.membership import Membership
from actonce.messages import Want
from actonce.pool import Pool
from actonce.settings import Settings
from actonce.sharing import gifts, targets
from actonce.slots import CalmWall, Slot
from actonce.world import World
from actonce_crdt import Gift, QuotaState

FOUNDER = "."
"""Key of the mark by which the founder of a mesh knows itself: whoever settled it as new, and nobody else ever."""

NEED_KEPT_S = 3.0
"""What a peer said it needs counts for so long."""
NEED_AGAIN_S = 1.0
"""A need that does not change is said again after this."""
CALENDAR_SKEW_S = 120.0
"""No rights of a calendar budget move for so long after its renewal: by then all replicas' clocks have seen it."""
INTERVAL_S_MAX = 0.5
"""Between two transfers of a resource from one replica; less for windows below ten seconds, never below a heartbeat."""
WAITS_MAX, WAIT_NOTED_S = 1_000, 0.05


@dataclass(frozen=True, slots=True)
class Wait:
    """A call that had to wait."""

    wall: float
    task: str
    quota: str
    seconds: float
    why: str


@dataclass(slots=True)
class _Need:
    needs: dict[str, tuple[int, int]] = field(default_factory=dict)
    at: float = -math.inf


class Quotas:
    """The quotas of one engine."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        agent: Agent,
        ledger: Ledger,
        membership: Membership,
        journal: str,
        *,
        say: Callable[[Want], None],
        note: Callable[[str], None],
    ) -> None:
        """
        Args:
            journal: id of our journal: a replica that lost it is another holder.
            say: tells every linked peer.

        Raises:
            ConfigError: a window is shorter than a heartbeat.
        """
        self._world, self._settings, self._ledger, self._membership = world, settings, ledger, membership
        self._say, self._note = say, note
        self.holder = f"{membership.me.name}/{journal}"
        self.pools: dict[str, Pool] = {}
        self.slots: dict[str, Slot] = {}
        self.left = False
        """Everything was given away; what still comes is passed on."""
        self.waits: deque[Wait] = deque(maxlen=WAITS_MAX)
        self.calm_wall = CalmWall(world.wall, world.now, note)
        self.cooling = Cooling(world, settings, ledger, self.pools)
        self._needs: dict[str, _Need] = {}
        self._said: dict[str, tuple[int, int]] = {}
        self._said_at = -math.inf
        for name, spec in sorted(agent.quotas.items()):
            self._open_quota(name, spec)

    def _open_quota(self, name: str, spec: QuotaSpec) -> None:
        for resource in spec.resources:
            if resource.window_s <= self._settings.heartbeat_s:
                raise ConfigError(
                    f"quota {name!r}: a window of {resource.window_s:g} s for {resource.unit} is not longer than a "
                    f"heartbeat ({self._settings.heartbeat_s:g} s), in which rights cannot move: give a longer one"
                )
        world, error = self._world, self._settings.quota_clock_error
        pool = self.pools[name] = Pool(spec, error, world.now, world.hands.engine)
        pool.on_hungry = lambda: self._hungry(name)
        pool.on_returned = lambda index, count: self._returned(self.slots[spec.resources[index].key], count)
        for index, resource in enumerate(spec.resources):
            account = Account(
                resource,
                self.holder,
                _reader(self._ledger, resource.key),
                self._ledger.write,
                self._ledger.stamp,
                self._membership.me.name,
                error,
                spec.flight_s,
            )
            interval_s = min(INTERVAL_S_MAX, max(self._settings.heartbeat_s, resource.window_s / 20))
            self.slots[resource.key] = Slot(account, pool, index, interval_s)

    # From the journal, and the founding

    def recover(self) -> None:
        """After the ledger did."""
        now, wall = self._world.now(), self.calm_wall.read()
        for slot in self.slots.values():
            slot.account.recover(now, slot.account.resource.period(wall))
            self._advance(slot)
        for key in sorted(self._ledger.state.quotas):
            self.cooling.changed(key)

    def found(self) -> None:
        """This replica makes a new mesh: its rights come into being here, once. Nobody else ever makes any."""
        if not self.slots:
            return  # whoever is asked to, by `found_late`, makes rights when there are limits
        mark = self._ledger.state.quotas.get(FOUNDER)
        if mark is None:
            me = self._membership.me.name
            self._ledger.write(Gift(FOUNDER, self._ledger.stamp(), me, self.holder, self.holder, 1, 0))
        self._found_more()

    def found_late(self) -> str | None:
        """The user's word that this replica, of all, makes the rights of a mesh that has none. Or why it does not."""
        if self._membership.settled is None:
            return "this replica has not settled: it does not know yet whether rights exist"
        if self.founders:
            return f"rights were founded by {', '.join(holder.partition('/')[0] for holder in self.founders)} already"
        if not self.slots:
            return "the agent of this replica declares no quota"
        self.found()
        return None

    def _found_more(self) -> None:
        """Quotas that were declared since, and raised or lowered limits."""
        for slot in self.slots.values():
            slot.account.found()

    @property
    def founders(self) -> list[str]:
        """Who made this mesh. More than one: two meshes were made, and joined; then every limit exists twice."""
        state = self._ledger.state.quotas.get(FOUNDER)
        return state.holders if state is not None else []

    # What comes in

    def changed(self, keys: list[str]) -> None:
        """Entries of these keys came."""
        for key in keys:
            if key in self.slots:
                self.slots[key].account.look(self._world.now())
            elif key.partition("@")[0] in self.pools:
                self.cooling.changed(key)

    def heard(self, name: str, word: Want) -> None:
        """A peer says what it needs."""
        self._needs[name] = _Need(dict(word.needs), self._world.now())

    def waited(self, task: str, quota: str, seconds: float, why: str) -> None:
        """A call of this task got its turn after so long."""
        if seconds >= WAIT_NOTED_S:
            self.waits.append(Wait(self._world.wall(), task, quota, seconds, why))

    # Time

    def tick(self) -> None:
        """Look at everything; often."""
        if not self.slots:
            return
        now = self._world.now()
        wall = self.calm_wall.read()
        if self.left:
            self.leave()
            return
        if self._membership.settled is not None and self.founders == [self.holder]:
            self._found_more()
        for slot in self.slots.values():
            self._step(slot, now, wall)
        self._tell_needs(now)

    def _step(self, slot: Slot, now: float, wall: float) -> None:
        account, period = slot.account, slot.account.period
        ready = account.pass_time(now, account.resource.period(wall))
        if account.period != period:
            self._renewed(slot, ready)
        elif ready:
            self._hand_over(slot, ready)
        if slot.basin.next_at <= slot.basin.clock(now):
            self._world.hands.post(slot.pool.serve)  # perhaps nobody is there who would look
        slot.rate(now)
        if now >= slot.give_at:
            self._give(slot, now, wall)
        self._reserve(slot)
        if slot.is_idle(now):
            self._seal(slot, slot.basin.free)  # so that a crash costs nothing
            slot.idle_since = now
        alarm = slot.alarm()
        if alarm is not None:
            self._note(alarm)

    def _reserve(self, slot: Slot) -> None:
        """Open what is waited for, or will be in a moment."""
        if slot.need > 0 and slot.account.sealed > 0:
            count = slot.account.reserve(slot.need)
            if count:
                self._ledger.when_durable(lambda: self._reserved(slot, count))

    def _reserved(self, slot: Slot, count: int) -> None:
        if not self.left:
            slot.account.reserved(count)
            self._hand_over(slot, count)

    def _hand_over(self, slot: Slot, count: int) -> None:
        self._world.hands.post(lambda: slot.pool.add(slot.index, count))

    def _take_back(self, slot: Slot, count: int) -> None:
        self._world.hands.post(lambda: slot.pool.take_back(slot.index, count))

    def _seal(self, slot: Slot, count: int) -> None:
        self._world.hands.post(lambda: slot.pool.seal(slot.index, count))

    def _renewed(self, slot: Slot, ready: int) -> None:
        """A calendar period began. It is on disk before anything is used in it; all but a block is sealed again."""
        account = slot.account
        account.pooled -= ready
        account.open -= ready
        account.returned(0)
        self._ledger.when_durable(lambda: self._advance(slot))

    def _advance(self, slot: Slot) -> None:
        if not self.left and slot.account.resource.calendar:
            period, count = slot.account.period, slot.account.pooled
            self._world.hands.post(lambda: slot.pool.advance(slot.index, period))
            self._seal(slot, count)

    def _returned(self, slot: Slot, count: int) -> None:
        if self.left:
            return  # they went with all others
        slot.account.returned(count)
        now = self._world.now()
        self._give(slot, now, self.calm_wall.read())

    def _hungry(self, name: str) -> None:
        if self.left:
            return
        now, wall = self._world.now(), self.calm_wall.read()
        for resource in self.pools[name].spec.resources:
            self._step(self.slots[resource.key], now, wall)
        self._tell_needs(now)

    # Moving rights

    def present(self) -> dict[str, str]:
        """Holder -> name, of everybody who could use a right right now, us included."""
        members, found = self._membership.view.members, {self.holder: self._membership.me.name}
        for name, peer in sorted(self._membership.peers.items()):
            if peer.linked and not peer.leaving and peer.about is not None and peer.member in members:
                found[f"{name}/{peer.about.journal}"] = name
        return found

    def users(self, key: str) -> dict[str, str]:
        """Those of them that know this resource: one that runs older declarations could do nothing with rights."""
        here = self.present().items()
        return {holder: name for holder, name in here if holder == self.holder or self._need(name, key) is not None}

    def gone(self, slot: Slot) -> dict[str, int]:
        """Holder -> rights that nobody can use until it returns."""
        return gone(slot.account.state(), self.present())

    def need_of(self, name: str, key: str) -> tuple[int, int]:
        """(demand, how many are waited for that it cannot find itself) of a peer."""
        return self._need(name, key) or (0, 0)

    def _need(self, name: str, key: str) -> tuple[int, int] | None:
        need = self._needs.get(name)
        if need is None or self._world.now() - need.at > NEED_KEPT_S:
            return None
        return need.needs.get(key)

    def _give(self, slot: Slot, now: float, wall: float) -> None:
        account, resource = slot.account, slot.account.resource
        if resource.calendar and resource.period(wall - CALENDAR_SKEW_S) != account.period:
            return
        excess = account.excess() if self.founders == [self.holder] else 0
        if excess:
            self._destroy(slot, excess)
        here = self.users(resource.key)
        if len(here) == 1:
            return
        state = account.state()
        held = {holder: max(0, state.held(holder)) for holder in here}
        needs = {holder: self.need_of(name, resource.key) for holder, name in here.items()}
        needs[self.holder] = (slot.demand + excess, slot.lack)
        wanted = targets(sum(held.values()), {holder: need[0] for holder, need in needs.items()})
        queued = {holder: need[1] for holder, need in needs.items()}
        idle_step = max(1, resource.limit // (4 * len(here))) if now >= slot.idle_give_at else resource.limit + 1
        plan = gifts(self.holder, held, wanted, queued, idle_step=idle_step)
        if not plan:
            if slot.basin.owed and not resource.calendar:
                self._take_back(slot, 0)
            return
        slot.give_at, slot.idle_give_at = now + slot.interval_s, now + 5 * slot.interval_s
        for to, count in plan.items():
            now_given = min(count, account.sealed)
            if now_given > 0:
                account.give(to, now_given)
            plan[to] = count - max(0, now_given)
        missing = sum(plan.values())
        if missing and account.pooled:
            self._take_back(slot, min(missing, account.pooled))

    def _destroy(self, slot: Slot, excess: int) -> None:
        if slot.account.sealed > 0:
            slot.account.destroy(min(excess, slot.account.sealed))
        elif slot.account.pooled:
            self._take_back(slot, min(excess, slot.account.pooled))

    def leave(self) -> None:
        """No handler runs here any more: everything goes to the others; what may be in use there waits a window."""
        if len(self.present()) == 1:
            return  # the rights come back with our journal
        if not self.left:
            self.left = True
            self.close()
        for slot in self.slots.values():
            account = slot.account
            if account.held > 0 and self._give_all(slot, account.held, account.held - max(0, account.sealed)):
                account.empty()

    def part(self) -> None:
        """We end now. If handlers may still run, only what surely is not in use goes to the others."""
        for slot in self.slots.values() if not self.left else ():
            if slot.account.sealed > 0:
                self._give_all(slot, slot.account.sealed, 0)
        self.close()

    def _give_all(self, slot: Slot, left: int, late: int) -> bool:
        """`left` rights, `late` of them perhaps in use, to those that need them. False if nobody is there."""
        account, state, key = slot.account, slot.account.state(), slot.account.resource.key
        others = self.users(key)
        del others[self.holder]
        if not others:
            return False
        held = {holder: max(0, state.held(holder)) for holder in others}
        needs = {holder: self.need_of(name, key)[0] for holder, name in others.items()}
        wanted = targets(left + sum(held.values()), needs)
        lack = {holder: max(0, wanted[holder] - held[holder]) for holder in sorted(others)}
        last = max(lack, key=lambda holder: (lack[holder], holder))
        for to in sorted(others, key=lambda holder: holder == last):
            count = left if to == last else min(lack[to], left)
            fresh = min(count, max(0, left - late))
            if fresh > 0:
                account.give(to, fresh)
            if count > fresh:
                account.give_late(to, count - fresh)
                late -= count - fresh
            left -= count
        return True

    def close(self) -> None:
        """No handler gets anything any more."""
        for pool in self.pools.values():
            self._world.hands.post(pool.close)

    def _tell_needs(self, now: float) -> None:
        needs = {key: (slot.demand, slot.lack) for key, slot in self.slots.items()}
        again_s = NEED_AGAIN_S if needs == self._said else self._settings.heartbeat_s
        if now - self._said_at >= again_s:
            self._said, self._said_at = needs, now
            self._say(Want(needs))


def _reader(ledger: Ledger, key: str) -> Callable[[], QuotaState]:
    nothing = QuotaState()
    return lambda: ledger.state.quotas.get(key, nothing)
