"""How fresh the word of another replica is."""

import math

from actonce.messages import Announce, Heartbeat
from actonce.ownership import Member, View
from actonce.peers import Peer

ME, B = Member("a", 1), Member("b", 1)
DIGEST = b"d" * 8


def beat(sent: float = 1.0, echo: float = -math.inf, read: dict[int, int] | None = None) -> Heartbeat:
    return Heartbeat(sent, echo, 1, DIGEST, read or {})


def word(*members: Member) -> Announce:
    return Announce(View(1, frozenset(members)), settled=True, leaving=False)


def test_contact_dates_from_the_sending_of_the_heartbeat_that_was_answered() -> None:
    peer = Peer(B)
    peer.heartbeat(beat(), {}, now=5.0)
    assert peer.contact == -math.inf, "a heartbeat that answers nothing is no round trip"
    peer.heartbeat(beat(echo=2.0), {}, now=9.0)
    assert peer.contact == 2.0
    assert peer.round_trips == 1


def test_old_heartbeats_in_a_socket_date_nothing_but_the_past() -> None:
    peer = Peer(B)
    for echo in (2.0, 2.1, 2.1, 1.0):
        peer.heartbeat(beat(echo=echo), {}, now=100.0)
    assert peer.contact == 2.1
    assert peer.round_trips == 2, "the same heartbeat answered twice is one round trip"


def test_an_echo_from_the_future_is_no_echo_of_ours() -> None:
    peer = Peer(B)
    peer.heartbeat(beat(echo=9.1), {}, now=9.0)
    assert peer.contact == -math.inf


def test_a_promise_counts_once_we_have_read_all_that_it_had_read() -> None:
    peer = Peer(B)
    peer.heartbeat(beat(echo=1.0), {}, now=1.1)
    peer.heartbeat(beat(echo=2.0, read={7: 5, 8: 1}), {7: 4, 8: 1}, now=2.1)
    assert peer.contact == 1.0
    assert peer.behind == {7}
    assert peer.behind_since == 2.1
    peer.caught_up([7], {7: 4}, now=2.2)
    assert peer.contact == 1.0
    peer.heartbeat(beat(echo=3.0), {7: 4, 8: 1}, now=3.1)
    assert peer.contact == 1.0
    assert peer.behind_since == 2.1, "since it began to be behind, not since the last word"
    peer.caught_up([7], {7: 5}, now=3.2)
    assert peer.contact == 3.0
    assert peer.behind_since == math.inf


def test_an_announcement_voids_the_promise_until_the_next_heartbeat() -> None:
    peer = Peer(B)
    peer.heartbeat(beat(echo=1.0), {}, now=1.1)
    peer.announce(word(ME, B))
    assert peer.contact == -math.inf
    peer.heartbeat(beat(echo=1.0), {}, now=1.2)
    assert peer.contact == 1.0


def test_a_promise_is_a_view_that_holds_this_incarnation_of_us() -> None:
    peer = Peer(B)
    assert not peer.promises(ME)
    peer.announce(word(B))
    assert not peer.promises(ME)
    peer.announce(word(B, Member("a", 2)))
    assert not peer.promises(ME)
    peer.announce(word(B, ME))
    assert peer.promises(ME)


def test_clocks_only_grow() -> None:
    peer = Peer(B)
    peer.has_read({7: 5}, {7: 9}, now=1.0)
    peer.has_read({7: 3}, {7: 9}, now=1.0)
    assert peer.read == {7: 5}


def test_a_digest_says_nothing_after_further_entries() -> None:
    peer = Peer(B)
    peer.heartbeat(beat(), {}, now=1.0)
    assert peer.digest == DIGEST
    peer.has_read({7: 1}, {7: 1}, now=1.0)
    assert peer.digest == b""


def test_without_a_link_its_word_stays_and_grows_old() -> None:
    peer = Peer(B, linked=True)
    peer.announce(word(B, ME))
    peer.heartbeat(beat(echo=1.0), {}, now=1.1)
    peer.unlink()
    assert (peer.contact, peer.linked, peer.round_trips) == (1.0, False, 0)
    assert peer.promises(ME)
    assert peer.their_sent == -math.inf, "an echo on the next link must be of that link"


def test_a_new_link_does_not_make_us_forget_what_we_lack() -> None:
    peer = Peer(B)
    peer.heartbeat(beat(echo=1.0, read={7: 6}), {}, now=1.1)
    peer.unlink()
    peer.announce(word(B, ME))
    peer.heartbeat(beat(echo=2.0, read={7: 6}), {}, now=2.1)
    assert peer.contact == -math.inf
    assert peer.behind == {7}


def test_an_acknowledgement_does_not_renew_a_promise_that_was_voided() -> None:
    peer = Peer(B)
    peer.heartbeat(beat(echo=1.0), {}, now=1.1)
    peer.announce(word(B, ME))
    peer.has_read({1: 1}, {1: 1}, now=1.2)
    assert peer.contact == -math.inf
