"""An owner without a free slot has another replica do the task: it writes the claim in that one's name.

The owner stays the only one who decides, so there is no race: nobody helps himself. A delegate that cannot start the
task within DELEGATE_PATIENCE_S hands it back, by a claim with a higher epoch in the owner's name.

A delegate starts only what a member of its present view gave it. A claim that a dead replica wrote may come late, when
its successor has acted on our promise that we had read everything; such a task is handed to its owner instead.
"""

from __future__ import annotations

from actonce.membership import Membership
from actonce.ownership import Member, View
from actonce_crdt import Claim

DELEGATE_PATIENCE_S = 0.5


def is_delegated_to(me: Member, claim: Claim | None) -> bool:
    """Whether this claim is another's word that we should do the task."""
    return claim is not None and bool(claim.holder) and Member(*claim.claimant) == me


def may_start(view: View, claim: Claim) -> bool:
    """Whether we may take the word of whoever delegated this to us."""
    return Member(claim.author, claim.incarnation) in view.members


def pick(membership: Membership, kind: str) -> Member | None:
    """Who could start a task of this kind at once; the one with most room. It is counted as used."""
    able, best = membership.able(kind), None
    for name in sorted(membership.peers):
        peer = membership.peers[name]
        fit = peer.linked and peer.free > 0 and peer.member in membership.view.members and able(peer.member)
        if fit and peer.promises(membership.me) and (best is None or peer.free > best.free):
            best = peer
    if best is None:
        return None
    best.free -= 1
    return best.member
