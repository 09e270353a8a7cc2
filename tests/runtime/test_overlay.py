"""Laws of partial views: whatever comes, in whatever order, the views stay within their bounds and tell no lies."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actonce.acquaintances import MEMBERS_KEPT, PASSIVE_MAX
from actonce.overlay import (
    ACTIVE_MAX,
    CROWD_MAX,
    WALK_HOPS,
    Close,
    Dial,
    Down,
    Overlay,
    Send,
    Step,
    Undial,
    Up,
)
from actonce.overlay_messages import Contact, Elsewhere, Hello, Pulse, Swap, Walk

BEAT_S = 1.0
NAMES = [f"n{index}" for index in range(16)]


def contact(name: str) -> Contact:
    return Contact(name, f"{name}:1", name in NAMES[:2])


contacts = st.sampled_from([*NAMES, "me"]).map(contact) | st.builds(Contact, st.just("x"), st.sampled_from(["", "y"]))
messages = st.one_of(
    st.builds(Hello, st.sampled_from(["join", "need", "may"])),
    st.builds(Elsewhere, st.lists(contacts, max_size=8).map(tuple)),
    st.builds(Walk, contacts, st.integers(0, 64)),
    st.builds(Swap, st.lists(contacts, max_size=40).map(tuple), st.booleans()),
    st.builds(Pulse, st.just(bytes(16)), st.integers(0, 9), st.floats(-1, 100), st.integers(0, 64)),
)
events = st.lists(
    st.one_of(
        st.tuples(st.just("up"), st.sampled_from(NAMES), st.booleans()),
        st.tuples(st.just("down"), st.sampled_from(NAMES)),
        st.tuples(st.just("failed"), st.sampled_from(NAMES)),
        st.tuples(st.just("take"), st.sampled_from(NAMES), messages),
        st.tuples(st.just("beat"), st.floats(0.1, 3.0)),
    ),
    max_size=60,
)


class Watch:
    """Follows what an `Overlay` asks for, as its caller would."""

    def __init__(self, *, member: bool, seed: int) -> None:
        self.draws = seed
        self.views = Overlay(Contact("me", "me:1", member), BEAT_S, self._dice)
        self.now = 0.0
        self.links: set[str] = set()
        self.up: set[str] = set()
        self.dialed: set[str] = set()

    def _dice(self) -> float:
        self.draws = (self.draws * 1_103_515_245 + 12_345) % 2**31
        return self.draws / 2**31

    def happen(self, event: tuple[Any, ...]) -> None:
        views = self.views
        match event:
            case ("up", str(name), bool(ours)):
                address = f"{name}:1"
                if ours and address not in self.dialed:
                    return
                self.links.add(name)
                self.see(views.up(contact(name), address if ours else "", self.now))
            case ("down", str(name)) if name in self.links:
                self.links.discard(name)
                self.see(views.down(name))
            case ("failed", str(name)):
                self.see(views.failed(f"{name}:1"))
            case ("take", str(name), message) if name in self.links:
                self.see(views.take(name, message, self.now))
            case ("beat", float(seconds)):
                self.now += seconds
                self.see(views.beat(self.now))

    def see(self, steps: list[Step]) -> None:
        for step in steps:
            match step:
                case Up(name):
                    assert name in self.links
                    assert name not in self.up
                    self.up.add(name)
                case Down(name):
                    assert name in self.up
                    self.up.discard(name)
                case Close(name):
                    assert name not in self.up
                    self.links.discard(name)
                case Send(name, _):
                    assert name in self.links
                case Dial(address):
                    assert address not in ("", "me:1")
                    self.dialed.add(address)
                case Undial(address):
                    self.dialed.discard(address)

    def check(self) -> None:
        views = self.views
        assert self.up == set(views.active)
        assert len(views.active) <= CROWD_MAX + ACTIVE_MAX  # those that we dialed ourselves come on top for a beat
        assert len(views.known.passive) <= PASSIVE_MAX
        assert len(views.known.members) <= MEMBERS_KEPT + 1
        assert "me" not in {one.name for one in (*views.known.passive.values(), *views.known.members.values())}
        if views.me.member:
            assert not self.dialed


@settings(max_examples=70, deadline=None)
@given(events, st.booleans(), st.integers(0, 2**31 - 1))
def test_whatever_comes_the_views_stay_within_bounds(
    happened: list[tuple[Any, ...]], member: bool, seed: int
) -> None:
    watch = Watch(member=member, seed=seed)
    watch.views.known.seed(["seed:1"])
    for event in happened:
        watch.happen(event)
        watch.check()
    watch.now += BEAT_S
    watch.see(watch.views.beat(watch.now))
    assert len(watch.views.active) <= ACTIVE_MAX


def neighbours(member: bool, count: int) -> Watch:
    watch = Watch(member=member, seed=7)
    for name in NAMES[2 : 2 + count]:
        watch.happen(("up", name, False))
        watch.happen(("take", name, Hello("join")))
    return watch


def test_who_is_full_refuses_a_wish_and_tells_of_others() -> None:
    watch = neighbours(True, ACTIVE_MAX)
    watch.links.add("n9")
    watch.views.up(contact("n9"), "", 0.0)
    steps = watch.views.take("n9", Hello("may"), 0.0)
    assert [type(step) for step in steps] == [Send, Close]
    assert isinstance(steps[0], Send)
    assert isinstance(steps[0].message, Elsewhere)
    assert len(steps[0].message.contacts) > 2


def test_who_joins_is_let_in_and_sent_on_walks() -> None:
    watch = neighbours(True, ACTIVE_MAX)
    watch.views.up(contact("n9"), "", 0.0)
    steps = watch.views.take("n9", Hello("join"), 0.0)
    walks = [step for step in steps if isinstance(step, Send) and step.message == Walk(contact("n9"), WALK_HOPS)]
    assert len(walks) == ACTIVE_MAX
    assert Up("n9") in steps


def test_a_stranger_is_not_listened_to_before_it_says_hello() -> None:
    watch = neighbours(False, 2)
    watch.views.up(contact("n9"), "", 0.0)
    assert watch.views.take("n9", Swap((contact("n12"),), False), 0.0) == []
    assert "n9" not in watch.views.active


def test_the_age_of_a_word_grows_with_time_and_distance() -> None:
    watch = neighbours(False, 2)
    watch.views.take("n2", Pulse(bytes(16), 3, 2.5, 3), 10.0)
    watch.views.take("n3", Pulse(bytes(16), 3, 9.0, 1), 10.0)
    assert watch.views.age_s(12.0) == pytest.approx(4.5)
    pulse = watch.views.pulse(bytes(16), 12.0)
    assert pulse.hops == watch.views.hops(12.0) == 2
    assert watch.views.hops(18.0) == 4  # the word by the shorter way is too old
    assert watch.views.hops(60.0) is None
    assert pulse.age_s == pytest.approx(4.5)
    assert Watch(member=True, seed=1).views.pulse(bytes(16), 12.0).age_s == 0.0
    assert Watch(member=False, seed=1).views.pulse(bytes(16), 12.0).age_s == -1.0
