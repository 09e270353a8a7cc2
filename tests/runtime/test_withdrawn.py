"""Words that were withdrawn, or are of a time that is over."""

from dataclasses import replace

from actonce.messages import Announce, Heartbeat
from actonce.ownership import View
from actonce.peers import Peer
from actonce.settling import Settled

from .test_membership import DIGEST, A, B, C, Replica, mesh


def test_a_word_that_was_withdrawn_does_not_come_back() -> None:
    """b slept, and settles anew: what it had said before of the same view went another way, and comes after that."""
    replica = Replica(View(5, frozenset({A, B, C})), new=False)
    replica.link(B)
    before = Announce(View(7, frozenset({A, B, C})), settled=True, leaving=False)
    replica.it.announce("b", replace(before, settled=False, vouches=False))
    replica.it.announce("b", before)
    replica.beat(B)
    replica.it.tick(replica.now)
    assert replica.it.settled is None, "c, which is missing, may have acted while both slept"
    replica.it.announce("b", replace(before, view=View(8, before.view.members)))
    replica.beat(B)
    assert replica.it.settled is Settled.PEER


def test_who_leaves_does_not_come_back_by_an_older_word() -> None:
    replica = mesh(B)
    word = Announce(View(3, frozenset({A, B})), settled=True, leaving=True)
    replica.it.announce("b", word)
    replica.it.announce("b", replace(word, leaving=False))
    assert not replica.it.able("reply")(B)


def test_a_view_from_before_it_settled_anew_says_nothing_of_that_it_has_settled() -> None:
    replica = Replica(disk=False)
    replica.it.tick(0.0)
    replica.it.view_durable(replica.views[-1].number)
    assert replica.it.settled_durably
    replica.link(B)
    replica.says(B, A, B)
    replica.beat(B)
    under_way = replica.views[-1]
    assert under_way.members == {A, B}
    replica.it._unsettle("slept")
    replica.it.view_durable(under_way.number)
    replica.now += 1.0
    replica.beat(B)
    assert replica.it.settled is Settled.PEER
    assert replica.views[-1].number > under_way.number
    assert not replica.it.settled_durably, "the view that it settled into is not on the disk"
    replica.it.view_durable(replica.views[-1].number)
    assert replica.it.settled_durably


def test_a_promise_that_was_not_flushed_when_its_link_ended_never_counts() -> None:
    """The next link begins with an announcement, which voids it; but may be lost, as in the full queue of a relay."""
    peer = Peer(B, linked=True)
    peer.announce(Announce(View(1, frozenset({A, B})), settled=True, leaving=False))
    peer.heartbeat(Heartbeat(1.0, 1.0, 1, DIGEST, {}), {}, now=1.1)
    peer.heartbeat(Heartbeat(2.0, 2.0, 1, DIGEST, {7: 6}), {}, now=2.1)
    assert peer.contact == 1.0
    peer.unlink()
    peer.linked = True
    peer.has_read({1: 1}, {1: 1}, now=2.2)
    assert peer.contact == 1.0, "an acknowledgement came; we still lack what it had read"
    peer.heartbeat(Heartbeat(3.0, 3.0, 1, DIGEST, {7: 6}), {7: 6}, now=3.1)
    assert peer.contact == 3.0
