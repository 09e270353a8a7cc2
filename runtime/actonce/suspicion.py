"""When a member leaves the view against its will: silence, and answers that come too late. Pure functions of a `Peer`.

Silence, after SWIM (Das et al. 2002) with Lifeguard's lesson (arXiv 1707.00788): our own slowness must not look like
the death of others, so silence is counted in our own *active* time, in which a pause of ours takes one tick.

Lateness: a member that lives, but whose answers take longer than the contact window, stops everybody who needs its
promise. So it is *accused*: it leaves the view, hears so, and stays passive until it is fast again. Two halves of a
mesh must not accuse each other: only those may accuse who are in good touch with more than half of all in play (with
exactly half, if the first by name is among them). It stops counting as in play once it has answered that it read the
view without it: from then on it lacks a promise, and may not even drop its accusers and act alone (it settles anew
instead). One that goes silent before it answers is given up like any other. (A fixed wait of a contact window instead
was wrong: a slow member that is then cut off drops its accusers after suspicion, and goes on with its own tasks.)

Two that a third is in good touch with may accuse each other before either has heard of it. Then neither lacks the
other's promise, so neither answers: each leaves alone what the other owns, and goes on with its own, until one of them
takes the other in again. That one gives up what it does, and only then answers.

Not promised: that all accuse the same member. One whose answers are just at the limit may be late for some and not for
others; those then wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from actonce.ownership import Member
from actonce.peers import Peer
from actonce.settings import Settings

STEADY_S = 30.0
"""A member that stayed this long is not flapping when it is removed again."""

REENTRY_DOUBLINGS_MAX = 5

LATE_SHARE = 0.75
"""Of the contact window: answers that always take longer leave too little of it to act in."""


def silence_s(peer: Peer | None, member: Member, active: float) -> float:
    """Our active time since its last frame; for ever if it is not known."""
    return active - peer.heard if peer is not None and peer.member == member else math.inf


def suspicion_s(settings: Settings, me: Member, peer: Peer | None, member: Member) -> float:
    """Stretched where the member announced a longer contact window than ours: silence must outlast it."""
    window = peer.about.contact_window_s if peer is not None and peer.about is not None else 0.0
    outlast = window * (1 + settings.clock_rate_error_max) + settings.tick_s - settings.grace_s
    # Who never held us to be live has promised nothing: it may act without us while we count its silence.
    stranger = peer is None or peer.member != member or not peer.promises(me)
    return max(settings.suspicion_s, outlast) + (settings.grace_s if stranger else 0.0)


def look_at_answers(settings: Settings, peer: Peer, now: float, active: float) -> None:
    """Note since when the answers of this peer have been late."""
    if now - peer.echoed < LATE_SHARE * settings.contact_window_s:
        peer.late_since = math.inf
    else:
        peer.late_since = min(peer.late_since, active)


def is_late(settings: Settings, peer: Peer, active: float) -> bool:
    """For as long as it takes to be given up for silence: a shorter trouble must not move tasks."""
    given_up_s = settings.suspicion_s + settings.grace_s
    return active - peer.late_since >= given_up_s - LATE_SHARE * settings.contact_window_s


def may_accuse(in_play: frozenset[Member], late: frozenset[Member]) -> bool:
    """Whether those in good touch with each other, we among them, are the ones to decide."""
    good = in_play - late
    return 2 * len(good) > len(in_play) or (2 * len(good) == len(in_play) and min(in_play) in good)


def is_out(me: Member, required: frozenset[Member], peers: Mapping[str, Peer]) -> bool:
    """Whether somebody whose promise we need has put us out as too slow: it acts once we have answered that we know."""
    found = (peers.get(member.name) for member in required)
    return any(peer is not None and me in peer.accused for peer in found)


def removed(peer: Peer, active: float) -> None:
    """It leaves the view: its way back begins anew, and is longer the more often this happens."""
    peer.round_trips = 0
    peer.removals = 1 if active - peer.admitted >= STEADY_S else peer.removals + 1


def may_return(settings: Settings, peer: Peer, now: float) -> bool:
    """Enough fast answers in a row, for one that was removed; the first one, for any other."""
    if not peer.removals:
        return peer.round_trips >= 1 and now - peer.contact < settings.contact_window_s
    needed = settings.reentry_round_trips * 2 ** min(peer.removals - 1, REENTRY_DOUBLINGS_MAX)
    return peer.round_trips >= needed and now - peer.contact < settings.contact_window_s / 2
