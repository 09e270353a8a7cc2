"""Views, deaths and contact of one replica, fed by hand on a clock of our own."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from actonce.errors import ConfigError
from actonce.membership import Membership
from actonce.messages import Announce, Heartbeat
from actonce.ownership import Member, View
from actonce.peers import About
from actonce.settings import LAN, Settings
from actonce.settling import Settled
from actonce.world import ProcessId

A, B, C, D = (Member(name, 1) for name in "abcd")
DIGEST = bytes(8)
NOBODY = View(0, frozenset())


def about(member: Member, *, kinds: str = "reply", window_s: float = LAN.contact_window_s) -> About:
    process = ProcessId("host", ord(member.name), member.incarnation)
    return About("kevin", f"journal-{member.name}", member.incarnation, 1, {kinds: "spread"}, "", window_s, process)


@dataclass
class Replica:
    """Replica `a`, whose disk takes no time unless `disk` is False."""

    last: View | None = None
    new: bool = True
    disk: bool = True
    now: float = 0.0
    views: list[View] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unsettled: int = 0

    def __post_init__(self) -> None:
        self.it = Membership(
            A,
            LAN,
            {"reply": "spread"},
            last=self.last,
            new=self.new,
            now=self.now,
            on_view=self.stored,
            on_unsettled=self.unsettle,
            note=self.notes.append,
        )

    def stored(self, view: View) -> None:
        self.views.append(view)
        if self.disk:
            self.it.view_durable(view.number)

    def unsettle(self) -> None:
        self.unsettled += 1

    def link(self, member: Member) -> None:
        self.it.met(member.name, about(member))

    def says(self, member: Member, *members: Member, settled: bool = True, lingering: tuple[Member, ...] = ()) -> None:
        """`member` announces a view."""
        view = View(self.it.view.number, frozenset(members), frozenset(lingering))
        self.it.announce(member.name, Announce(view, settled, leaving=False))

    def beat(
        self, *of: Member, echo: float | None = None, refused: tuple[str, ...] = (), read: dict[int, int] | None = None
    ) -> None:
        """They answer a heartbeat that we sent just now."""
        for member in of:
            said = self.it.peers[member.name].view
            number = said.number if said is not None else 0
            beat = Heartbeat(self.now, self.now if echo is None else echo, number, DIGEST, read or {}, refused=refused)
            self.it.heartbeat(member.name, beat, {}, self.now)

    def run(self, seconds: float, *beating: Member) -> None:
        """Time passes in ticks, with heartbeats of these."""
        for _ in range(round(seconds / LAN.tick_s)):
            self.now += LAN.tick_s
            self.beat(*beating)
            self.it.tick(self.now)

    def acts(self) -> bool:
        return self.now < self.it.act_until()


def mesh(*others: Member) -> Replica:
    """Replica `a`, settled, in one view with these."""
    replica = Replica()
    replica.it.tick(0.0)
    for other in others:
        replica.link(other)
        replica.says(other, A, *others)
        replica.beat(other)
    for other in others:
        replica.says(other, *replica.it.view.members)
        replica.beat(other)
    assert replica.it.view.members == {A, *others}
    assert replica.acts()
    return replica


def test_the_first_replica_acts_alone_for_ever() -> None:
    replica = mesh()
    assert replica.it.settled is Settled.NEW
    assert replica.it.act_until() == math.inf
    assert replica.it.in_play() == {A}


def test_before_it_is_settled_nobody_acts_and_the_last_view_is_announced() -> None:
    last = View(7, frozenset({A, B}))
    replica = Replica(last, new=False)
    replica.it.tick(0.0)
    assert not replica.acts()
    assert replica.it.announced == last
    assert replica.views == []


def test_a_view_is_acted_under_and_announced_once_it_is_on_disk() -> None:
    replica = Replica(disk=False)
    replica.it.tick(0.0)
    assert replica.it.settled is Settled.NEW
    assert not replica.it.settled_durably
    assert not replica.acts()
    assert replica.it.announced == NOBODY
    replica.it.view_durable(replica.it.view.number)
    assert replica.it.settled_durably
    assert replica.acts()
    assert replica.it.announced == replica.it.view


def test_an_older_view_on_disk_does_not_count() -> None:
    replica = Replica(disk=False)
    replica.it.tick(0.0)
    first = replica.it.view
    replica.link(B)
    replica.says(B, B)
    replica.beat(B)
    replica.it.view_durable(first.number)
    assert replica.it.view.number > first.number
    assert not replica.acts()


def test_a_joiner_is_admitted_when_settled_and_synced() -> None:
    replica = mesh()
    replica.link(B)
    replica.says(B, settled=False)
    replica.beat(B)
    assert replica.it.view.members == {A}, "not settled"
    replica.says(B, A, B)
    replica.beat(B, read={9: 3})
    assert replica.it.view.members == {A}, "we lack what it read"
    replica.it.integrated((9,), {9: 3}, replica.now)
    assert replica.it.view.members == {A, B}


def test_no_promise_no_act() -> None:
    replica = mesh(B, C)
    replica.says(C, B, C)
    replica.beat(C)
    assert not replica.acts(), "c does not hold us to be live"
    replica.says(C, A, B, C)
    assert not replica.acts(), "the promise is void until the next heartbeat"
    replica.beat(C)
    assert replica.acts()


def test_whoever_a_member_holds_to_be_live_must_promise_too() -> None:
    replica = mesh(B)
    replica.says(B, A, B, D)
    replica.beat(B)
    assert replica.it.required() == {B, D}
    assert not replica.acts()


def test_acting_ends_a_contact_window_after_the_answered_heartbeat_was_sent() -> None:
    replica = mesh(B, C)
    sent = replica.now
    replica.run(0.5, B)
    replica.beat(C, echo=sent)
    assert replica.it.act_until() == sent + LAN.contact_window_s
    replica.run(0.55, B)
    assert not replica.acts()


def test_silence_leads_out_of_the_view_then_through_a_grace() -> None:
    replica = mesh(B, C)
    replica.run(LAN.suspicion_s - LAN.tick_s, B)
    assert replica.it.view.members == {A, B, C}
    replica.run(2 * LAN.tick_s, B)
    assert replica.it.view.members == {A, B}
    assert replica.it.view.lingering == {C}
    assert C in replica.it.in_play()
    replica.says(B, A, B, lingering=(C,))
    replica.beat(B)
    assert replica.acts(), "who lingers need not answer"
    replica.run(LAN.grace_s - 2 * LAN.tick_s, B)
    assert replica.it.view.lingering == {C}
    replica.run(3 * LAN.tick_s, B)
    assert replica.it.view.lingering == frozenset()
    replica.says(B, A, B)
    replica.beat(B)
    assert replica.it.in_play() == {A, B}


def test_a_longer_contact_window_of_another_is_outlasted() -> None:
    replica = mesh(B)
    slow = 3.0
    replica.it.met("b", about(B, window_s=slow))
    replica.run(slow)
    assert B in replica.it.view.members | replica.it.view.lingering, "it may still act"
    replica.run(slow * LAN.clock_rate_error_max + 3 * LAN.tick_s)
    assert replica.it.view.members | replica.it.view.lingering == {A}


def test_a_late_tick_is_our_own_sleep_and_nobodys_silence() -> None:
    replica = mesh(B)
    replica.now += 100.0
    replica.it.tick(replica.now)
    assert B in replica.it.view.members
    assert not replica.acts()


def test_who_slept_for_a_contact_window_settles_anew() -> None:
    replica = mesh(B)
    replica.now += LAN.contact_window_s + 3 * LAN.tick_s
    replica.it.look(replica.now)
    assert replica.unsettled == 1
    assert replica.it.settled is None
    assert not replica.acts()
    replica.beat(B, echo=1.0)
    assert replica.it.settled is None, "an answer from before the sleep"
    replica.beat(B)
    assert replica.it.settled is Settled.PEER


def test_short_naps_add_up_only_while_out_of_contact() -> None:
    replica = mesh(B)
    for _ in range(10):
        replica.now += LAN.contact_window_s / 2
        replica.it.tick(replica.now)
        replica.beat(B)
        replica.it.tick(replica.now)
    assert replica.unsettled == 0


def test_a_silent_member_that_returns_needs_three_round_trips() -> None:
    replica = mesh(B)
    replica.run(LAN.suspicion_s + LAN.grace_s + 0.2)
    assert replica.it.view.members == {A}
    replica.it.lost("b", ended=False)
    replica.link(B)
    replica.says(B, A, B)
    for needed in range(LAN.reentry_round_trips):
        assert B not in replica.it.view.members, f"after {needed} round trips"
        replica.now += 0.01
        replica.beat(B)
    assert B in replica.it.view.members


def test_a_goodbye_is_certain() -> None:
    replica = mesh(B)
    replica.it.died(B, "it said goodbye")
    assert replica.it.view == View(replica.it.view.number, frozenset({A}))
    assert replica.acts()
    assert "b is gone: it said goodbye" in replica.notes


def test_the_word_of_the_dead_does_not_matter() -> None:
    replica = mesh(B, C)
    replica.says(B, B, D)
    replica.it.died(B, "its process ended")
    replica.says(C, A, C)
    replica.beat(C)
    assert replica.it.required() == {C, D}, "but whoever was in play only by it may be alive"
    replica.it.died(D, "its process ended")
    assert replica.acts()


def test_a_later_incarnation_proves_that_the_earlier_one_ended() -> None:
    replica = mesh(B)
    replica.link(Member("b", 2))
    assert B not in replica.it.view.members | replica.it.view.lingering
    assert Member("b", 2) not in replica.it.view.members, "not before it is settled and synced"


def test_two_replicas_believe_an_end_and_a_refusal() -> None:
    replica = mesh(B)
    replica.it.refused("b")
    assert B in replica.it.view.members, "without its link read to the end, a refusal is silence"
    replica.it.lost("b", ended=True)
    replica.it.refused("b")
    assert replica.it.view.members == {A}


def test_three_replicas_want_the_refusal_confirmed() -> None:
    replica = mesh(B, C)
    replica.it.lost("c", ended=True)
    replica.it.refused("c")
    assert C in replica.it.view.members
    replica.beat(B, refused=("d",))
    assert C in replica.it.view.members
    replica.beat(B, refused=("c",))
    assert replica.it.view.members == {A, B}


def test_the_refusal_of_another_is_not_enough() -> None:
    replica = mesh(B, C)
    replica.beat(B, refused=("c",))
    assert C in replica.it.view.members


def test_a_link_that_came_back_ends_the_suspicion() -> None:
    replica = mesh(B, C)
    replica.it.lost("c", ended=True)
    replica.it.refused("c")
    replica.link(C)
    replica.beat(B, refused=("c",))
    assert C in replica.it.view.members


def test_views_only_grow_above_all_that_was_heard() -> None:
    replica = mesh(B)
    replica.it.announce("b", Announce(View(50, frozenset({A, B})), settled=True, leaving=False))
    replica.it.died(B, "it said goodbye")
    assert replica.it.view.number == 51


def test_every_change_that_may_move_an_owner_is_counted() -> None:
    replica = mesh(B)
    before = replica.it.version
    replica.says(B, A, B)
    assert replica.it.version > before


def test_who_can_take_a_task() -> None:
    replica = mesh(B)
    able = replica.it.able("reply")
    assert able(A)
    assert able(B)
    assert able(Member("never-met", 1))
    assert not replica.it.able("other")(A)
    assert not replica.it.able("other")(B)
    replica.it.announce("b", Announce(View(3, frozenset({A, B})), settled=True, leaving=True))
    assert not able(B)
    replica.it.leaving = True
    assert not able(A)


def test_that_an_earlier_process_left_says_nothing_of_a_later_one() -> None:
    """Simulator, seed 1684: it was no owner for one replica, and was at work for another."""
    replica = mesh(B)
    replica.it.announce("b", Announce(View(3, frozenset({A, B})), settled=True, leaving=True))
    assert replica.it.able("reply")(Member("b", B.incarnation + 1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Settings(contact_window_s=1.6),
        lambda: Settings(suspicion_s=0.4),
        lambda: Settings(grace_s=0.05),
        lambda: Settings(heartbeat_s=0.4),
    ],
)
def test_durations_that_would_not_be_safe_are_refused(make: Callable[[], Settings]) -> None:
    with pytest.raises(ConfigError, match="contact_window_s"):
        make()


def test_the_presets_keep_the_inequality_with_something_to_spare() -> None:
    def slack_s(settings: Settings) -> float:
        window_s = settings.contact_window_s * (1 + settings.clock_rate_error_max)
        return settings.suspicion_s + settings.grace_s - window_s

    assert slack_s(LAN) > LAN.tick_s


def test_who_slept_while_it_was_cut_off_alone_settles_anew() -> None:
    """Simulator, seed 2427: it needed nobody's promise, and the others had taken its tasks over."""
    replica = mesh(B)
    replica.run(LAN.suspicion_s + 2 * LAN.tick_s)
    assert replica.it.view.members == {A}
    assert replica.acts()
    replica.now += 5.0
    replica.it.look(replica.now)
    assert replica.unsettled == 1
    assert not replica.acts()
