"""All limited resources of one replica, on the engine: reserves blocks, moves rights, shares cool-downs.

Handlers never come here: they take from a `Pool`. Here rights are opened before they are needed, given to who needs
them more, and asked for. Transfers are made at most once in `Slot.interval_s` for a resource, however many tasks run.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from actonce.agent import Agent
from actonce.cooling import Cooling
from actonce.electorate import Electorate
from actonce.errors import ConfigError
from actonce.escrow import Account, gone
from actonce.leases import Leases
from actonce.ledger import Ledger
from actonce.limits import QuotaSpec
from actonce.membership import Membership
from actonce.messages import Want
from actonce.needs import Needs
from actonce.pool import Pool
from actonce.settings import Settings
from actonce.slots import CalmWall, Slot
from actonce.transfers import Transfers
from actonce.world import World
from actonce_crdt import Gift, QuotaState

FOUNDER = "."
"""Key of the mark by which the founder of a mesh knows itself: whoever settled it as new, and nobody else ever."""

INTERVAL_S_MAX = 0.5
"""Between two transfers of a resource from one replica; less for windows below ten seconds, never below a heartbeat."""
WAITS_MAX, WAIT_NOTED_S = 1_000, 0.05


@dataclass(frozen=True, slots=True)
class Wait:
    """A call that had to wait, from `wall` on; or until then, once it is over."""

    wall: float
    task: str
    quota: str
    seconds: float
    why: str


class Quotas:
    """The quotas of one engine."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        agent: Agent,
        ledger: Ledger,
        membership: Membership,
        electorate: Electorate,
        journal: str,
        *,
        submit: Callable[[str], None],
        say: Callable[[Want], None],
        note: Callable[[str], None],
    ) -> None:
        """
        Args:
            journal: id of our journal: a replica that lost it is another holder.
            submit: asks for a task of this id, whose kind says all.
            say: tells every linked peer.

        Raises:
            ConfigError: a window is shorter than a heartbeat, or `reclaim` than the time after which we give others up.
        """
        self._world, self._settings, self._ledger, self._membership = world, settings, ledger, membership
        self._note = note
        self.holder = f"{membership.me.name}/{journal}"
        self.pools: dict[str, Pool] = {}
        self.slots: dict[str, Slot] = {}
        self.left = False
        """Everything was given away; what still comes is passed on."""
        self.waits: deque[Wait] = deque(maxlen=WAITS_MAX)
        self.waiting: dict[object, tuple[Wait, Callable[[], str]]] = {}
        """Calls that wait now, and why."""
        self.calm_wall = CalmWall(world.wall, world.now, note)
        self.cooling = Cooling(world, settings, ledger, self.pools)
        self.needs = Needs(settings, membership, self.holder, world.now, say)
        self.leases = Leases(world, ledger, membership, electorate, self.holder, agent.quotas, submit=submit)
        self._transfers = Transfers(self.holder, self.needs, self._take_back)
        self._leave_until = math.inf
        for name, spec in sorted(agent.quotas.items()):
            self._open_quota(name, spec)

    def _open_quota(self, name: str, spec: QuotaSpec) -> None:
        for resource in spec.resources:
            if resource.window_s <= self._settings.heartbeat_s:
                raise ConfigError(
                    f"quota {name!r}: a window of {resource.window_s:g} s for {resource.unit} is not longer than a "
                    f"heartbeat ({self._settings.heartbeat_s:g} s), in which rights cannot move: give a longer one"
                )
        settings = self._settings
        given_up_s = max(settings.suspicion_s + settings.grace_s, settings.contact_window_s)
        if spec.reclaim_s is not None and spec.reclaim_s <= given_up_s:
            raise ConfigError(
                f"quota {name!r}: reclaim={spec.reclaim_s:g} s is not longer than the {given_up_s:g} s after which a "
                "silent replica is given up: give a longer one, such as a minute"
            )
        world, error = self._world, settings.quota_clock_error
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
            account.lease_s = spec.reclaim_s or 0.0

    # From the journal, and the founding

    def recover(self) -> None:
        """After the ledger did."""
        now, wall = self._world.now(), self.calm_wall.read()
        for slot in self.slots.values():
            resource = slot.account.resource
            earlier = resource.period(wall - slot.account.flight_s)
            slot.account.recover(now, resource.period(wall), earlier)
            slot.follow(now, wall)
            if slot.account.leased:
                slot.pool.until = -math.inf
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
        for key in keys if self.pools else ():
            if key in self.slots:
                came = self.slots[key].account.look(self._world.now())
                self._forfeit(self.slots[key])
                if came and not self.left:
                    self._reserve(self.slots[key])
            elif key.partition("@")[0] in self.pools:
                self.cooling.changed(key)

    def began_to_wait(self, call: object, task: str, quota: str, why: Callable[[], str]) -> None:
        """A call of this task begins to wait; `why` says what for, at any time."""
        self.waiting[call] = (Wait(self._world.wall(), task, quota, 0.0, ""), why)

    def waited(self, call: object, task: str, quota: str, seconds: float, why: str) -> None:
        """It waits no longer, after so long."""
        self.waiting.pop(call, None)
        if seconds >= WAIT_NOTED_S:
            self.waits.append(Wait(self._world.wall(), task, quota, seconds, why))

    # Time

    def tick(self) -> None:
        """Look at everything; often."""
        if not self.slots:
            return
        now = self._world.now()
        wall = self.calm_wall.read()
        self._renew_leases(now)
        if self.left:
            self.leave()
            return
        if self._membership.settled is not None and self.founders == [self.holder]:
            self._found_more()
        for slot in self.slots.values():
            self._step(slot, now, wall)
        self._tell_needs()

    def _step(self, slot: Slot, now: float, wall: float) -> None:
        account, period = slot.account, slot.account.period
        ready = account.pass_time(now, account.resource.period(wall))
        slot.follow(now, wall)
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

    def _renew_leases(self, now: float) -> None:
        self.leases.tick()
        for name, pool in self.pools.items():
            lease_s = self.lease_s(name)
            if lease_s is not None:
                was, pool.until = pool.until, max(pool.until, self.leases.until(name, lease_s))
                if was <= now < pool.until:
                    self._world.hands.post(pool.serve)
        for slot in self.slots.values():
            if slot.keeping is not None and self.leases.is_kept(slot.pool.spec.name, slot.keeping):
                slot.keeping, slot.account.asked = None, 0

    def lease_s(self, name: str) -> float | None:
        """How long rights of this quota are used without a word from a majority; None for ever."""
        accounts = (self.slots[resource.key].account for resource in self.pools[name].spec.resources)
        return min((account.lease_s for account in accounts if account.leased), default=None)

    def _forfeit(self, slot: Slot) -> None:
        """If a majority took our rights: forget them, also where handlers take from."""
        if slot.account.forfeit(self._world.now()):
            slot.forfeits += 1
            self._note(f"a majority took this replica's rights of {slot.account.resource.key}, while it was away")
            self._world.hands.post(lambda: slot.pool.forfeit(slot.index))
            self._world.hands.post(lambda: self._world.hands.engine(lambda: self._forgotten(slot)))

    def _forgotten(self, slot: Slot) -> None:
        slot.forfeits -= 1

    def _reserve(self, slot: Slot) -> None:
        """Open what is waited for, or will be in a moment."""
        if slot.need > 0 and slot.account.sealed > 0:
            count = slot.account.reserve(slot.need)
            if count:
                taken = slot.account.taken_known
                self._ledger.when_durable(lambda: self._reserved(slot, count, taken))

    def _reserved(self, slot: Slot, count: int, taken: int) -> None:
        if not self.left and taken == slot.account.taken_known:
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
            period, ends_at, count = slot.account.period, slot.account.ends_at, slot.account.pooled
            self._world.hands.post(lambda: slot.pool.advance(slot.index, period, ends_at))
            self._seal(slot, count)

    def _returned(self, slot: Slot, count: int) -> None:
        if self.left or slot.forfeits:
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
        self._tell_needs()

    # Moving rights

    def gone(self, slot: Slot) -> dict[str, int]:
        """Holder -> rights that nobody can use until it returns."""
        return gone(slot.account.state(), self.needs.present())

    def _give(self, slot: Slot, now: float, wall: float) -> None:
        self._transfers.give(slot, now, wall, is_founder=self.founders == [self.holder])

    def leave(self) -> bool:
        """No handler runs here any more: everything goes to the others. Whether that is done, as far as it can be: what
        a majority has to know first (`reclaim`) takes some rounds."""
        now = self._world.now()
        self._leave_until = min(self._leave_until, now + self._settings.contact_window_s)
        if len(self.needs.present()) == 1:
            return True  # the rights come back with our journal
        if not self.left:
            self.left = True
            self.close()
        waits = [slot for slot in self.slots.values() if not self._transfers.leave(slot)]
        return not waits or now >= self._leave_until

    def part(self) -> None:
        """We end now. If handlers may still run, only what surely is not in use goes to the others."""
        for slot in self.slots.values() if not self.left else ():
            self._transfers.part(slot)
        self.close()

    def close(self) -> None:
        """No handler gets anything any more."""
        for pool in self.pools.values():
            self._world.hands.post(pool.close)

    def _tell_needs(self) -> None:
        self.needs.tell({key: (slot.demand, slot.lack) for key, slot in self.slots.items()})


def _reader(ledger: Ledger, key: str) -> Callable[[], QuotaState]:
    nothing = QuotaState()
    return lambda: ledger.state.quotas.get(key, nothing)
