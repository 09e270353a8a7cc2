"""When a starting replica may trust its memory."""

import pytest

from actonce.messages import Announce, Heartbeat
from actonce.ownership import Member, View
from actonce.peers import About, Peer
from actonce.settling import Settled, Waited, try_settle
from actonce.world import ProcessId

STARTED = 10.0


def view(*names: str, lingering: str = "") -> View:
    members, gone = (frozenset(Member(name, 1) for name in some) for some in (names, lingering))
    return View(1, members, gone)


def peer(
    name: str, said: View, *, settled: bool = False, linked: bool = True, answered: float = 11.0, lacks: int = 0
) -> Peer:
    """A peer that announced `said` and answered a heartbeat that we sent at `answered`; we lack `lacks` entries."""
    made = Peer(Member(name, 1), linked=linked)
    made.announce(Announce(said, settled, leaving=False))
    made.heartbeat(Heartbeat(1.0, answered, 1, bytes(8), {7: lacks} if lacks else {}), {}, 20.0)
    return made


def about(journal: str) -> About:
    return About("kevin", journal, 1, 1, {}, "", 1.0, ProcessId("host", 1, 1))


def settle(last: View | None, *peers: Peer, new: bool = False, waited: Waited = Waited.NOT) -> Settled | None:
    return try_settle("a", last, new, peers, STARTED, waited)


def test_only_the_first_of_a_mesh_starts_from_nothing() -> None:
    assert settle(None) is None
    assert settle(None, waited=Waited.ENOUGH) is None, "an empty journal never settles alone in silence"
    assert settle(None, new=True) is Settled.NEW


def test_new_does_not_count_with_a_journal() -> None:
    assert settle(view("a", "b"), new=True) is None


def test_one_settled_replica_is_enough() -> None:
    assert settle(view("a", "b", "c"), peer("b", view("b"), settled=True)) is Settled.PEER
    assert settle(None, peer("b", view("b"), settled=True)) is Settled.PEER


@pytest.mark.parametrize(
    "useless",
    [
        peer("b", view("b"), settled=True, linked=False),
        peer("b", view("b"), settled=True, lacks=3),
        peer("b", view("b"), settled=True, answered=STARTED - 1),
        Peer(Member("b", 1), linked=True, settled=True, contact=11.0),
    ],
    ids=["not linked", "not synced", "answered before we started", "no view yet"],
)
def test_who_is_not_synced_counts_for_nothing(useless: Peer) -> None:
    assert settle(view("a", "b"), useless) is None
    assert settle(None, useless) is None


def test_the_last_of_its_side_first_looks_for_others() -> None:
    assert settle(view("a")) is None
    assert settle(view("a"), waited=Waited.A_MOMENT) is Settled.REUNION


def test_a_reunion_needs_everybody_of_all_last_views() -> None:
    b = peer("b", view("a", "b"))
    assert settle(view("a", "b"), b) is Settled.REUNION
    assert settle(view("a", "b", "c"), b) is None
    assert settle(view("a", "b", lingering="c"), b) is None, "who lingered may have acted"
    of_more = peer("b", view("a", "b", "c"))
    assert settle(view("a", "b"), of_more) is None, "the last view of b holds c, which we never met"
    assert settle(view("a", "b"), of_more, peer("c", view("c"))) is Settled.REUNION
    assert settle(view("a", "b"), peer("b", view("a", "b", lingering="c"))) is None


def test_who_has_no_view_speaks_for_an_earlier_process_with_its_journal_only() -> None:
    """One that never had a view on disk has never acted, nor has any before it with that journal."""
    before = Peer(Member("b", 1), about("j1"))
    for journal, found in (("j1", Settled.REUNION), ("j2", None)):
        now = peer("b", view())
        now.member, now.about = Member("b", 2), about(journal)
        now.after(before)
        assert now.never_settled
        assert settle(view("a", "b"), now) is found
        later = Peer(Member("b", 3), about(journal), linked=True, view=view(), contact=11.0)
        later.after(now)
        assert settle(view("a", "b"), later) is found
    stranger = peer("b", view())
    stranger.member = Member("b", 2)
    assert settle(view("a", "b"), stranger) is None, "a process that we never met may have acted"


def test_after_a_time_it_acts_as_after_a_partition() -> None:
    assert settle(view("a", "b"), waited=Waited.A_MOMENT) is None
    assert settle(view("a", "b"), waited=Waited.ENOUGH) is Settled.ALONE
    assert settle(view("a", "b"), peer("b", view("a", "b")), waited=Waited.ENOUGH) is Settled.REUNION
