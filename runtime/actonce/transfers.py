"""Rights that go to other replicas: where they are needed more, because a limit was lowered, or because we leave."""

from __future__ import annotations

from collections.abc import Callable

from actonce.leases import Keeping
from actonce.needs import Needs
from actonce.sharing import gifts, targets
from actonce.slots import Slot

CALENDAR_SKEW_S = 120.0
"""No rights of a calendar budget move for so long after its renewal: by then all replicas' clocks have seen it."""


class Transfers:
    """The gifts of one replica."""

    def __init__(self, holder: str, needs: Needs, take_back: Callable[[Slot, int], None]) -> None:
        """
        Args:
            take_back: asks the pool for rights, as they become free.
        """
        self._holder, self._needs, self._take_back = holder, needs, take_back

    def give(self, slot: Slot, now: float, wall: float, *, is_founder: bool) -> None:
        """What others need more goes to them; what a lowered limit does not allow ceases to exist."""
        account, resource = slot.account, slot.account.resource
        if resource.calendar and resource.period(wall - CALENDAR_SKEW_S) != account.period:
            return
        excess = account.excess() if is_founder else 0
        if excess:
            self._destroy(slot, excess)
        here = self._needs.users(resource.key)
        if len(here) == 1:
            return
        state = account.state()
        held = {holder: max(0, state.held(holder)) for holder in here}
        needs = {holder: self._needs.of(name, resource.key) for holder, name in here.items()}
        needs[self._holder] = (slot.demand + excess, slot.lack)
        wanted = targets(sum(held.values()), {holder: need[0] for holder, need in needs.items()})
        queued = {holder: need[1] for holder, need in needs.items()}
        idle_step = max(1, resource.limit // (4 * len(here))) if now >= slot.idle_give_at else resource.limit + 1
        plan = gifts(self._holder, held, wanted, queued, idle_step=idle_step)
        if not plan:
            if slot.basin.owed and not resource.calendar:
                self._take_back(slot, 0)
            return
        if not self._announce(slot, sum(plan.values())):
            return  # once a majority knows
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
        if slot.account.sealed > 0 and not self._announce(slot, min(excess, slot.account.sealed)):
            return
        if slot.account.sealed > 0:
            slot.account.destroy(min(excess, slot.account.sealed))
        elif slot.account.pooled:
            self._take_back(slot, min(excess, slot.account.pooled))

    def leave(self, slot: Slot) -> bool:
        """Everything goes to the others, as nothing here uses it any more; what may be in use there waits a window.
        False while a majority has to know first.
        """
        account = slot.account
        if account.held > 0:
            if not self._announce(slot, account.held):
                return False
            if self._give_all(slot, account.held, account.held - max(0, account.sealed)):
                account.empty()
        return True

    def part(self, slot: Slot) -> None:
        """What surely is not in use goes to the others."""
        count = min(slot.account.sealed, slot.account.allowance)
        if count > 0:
            self._give_all(slot, count, 0)

    def _announce(self, slot: Slot, count: int) -> bool:
        """Whether so many rights may be given away; if not, that is prepared."""
        account = slot.account
        if count <= account.allowance:
            return True
        if account.leased and not account.asked:
            account.announce(count)
            slot.keeping = Keeping(account.asked)
        return False

    def _give_all(self, slot: Slot, left: int, late: int) -> bool:
        """`left` rights, `late` of them perhaps in use, to those that need them. False if nobody is there."""
        account, state, key = slot.account, slot.account.state(), slot.account.resource.key
        others = self._needs.users(key)
        del others[self._holder]
        if not others:
            return False
        held = {holder: max(0, state.held(holder)) for holder in others}
        needs = {holder: self._needs.of(name, key)[0] for holder, name in others.items()}
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
