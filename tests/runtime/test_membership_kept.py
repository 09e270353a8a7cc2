"""What a membership keeps, so that a frame costs the same in a mesh of any size, changes nothing that it decides."""

from random import Random

import pytest
from tests.runtime.test_membership import A, B, C, D, Replica

from actonce.membership import Membership
from actonce.ownership import Member
from actonce.settings import LAN

OTHERS = (B, C, D, Member("b", 2))
STEPS = 300


class Forgetful(Replica):
    """Concludes everything anew, each time."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.it.__class__ = _Anew


class _Anew(Membership):
    def _progress(self, now: float) -> None:
        self._in_play = self._pending = self._oldest = None
        super()._progress(now)

    def act_until(self) -> float:
        self._in_play = self._pending = self._oldest = None
        return super().act_until()


def step(replica: Replica, dice: Random) -> None:
    """One of the things that may happen, the same for equal dice."""
    it, member = replica.it, dice.choice(OTHERS)
    peer, what = it.peers.get(member.name), dice.randrange(10)
    current = peer is not None and peer.member == member
    if what == 0 or not current:
        if peer is None or peer.member.incarnation <= member.incarnation:
            replica.link(member)
    elif what == 1 and peer is not None and peer.linked and dice.random() < 0.3:
        it.lost(member.name, ended=dice.random() < 0.5)
    elif what <= 4:
        said = dice.choice(([A, *OTHERS[:3]], [A, member], [member], list(it.view.members), []))
        lingering = tuple(one for one in OTHERS[:3] if one not in said and dice.random() < 0.1)
        replica.says(member, *said, settled=bool(said) and dice.random() < 0.9, lingering=lingering)
    elif what == 5 and dice.random() < 0.1:
        it.died(member, "it said goodbye")
    elif what == 6:
        it.integrated((9,), {9: 2}, replica.now)
    else:
        replica.beat(member, echo=replica.now - dice.choice((0.0, 0.2)), read={9: dice.choice((1, 1, 1, 2))})
    if dice.random() < 0.3:
        replica.now += LAN.tick_s * dice.choice((1, 1, 1, 4, 20))
        it.tick(replica.now)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_kept_is_what_would_be_found_anew(seed: int) -> None:
    ours, anew = Replica(), Forgetful()
    dice = Random(seed), Random(seed)
    for _ in range(STEPS):
        for replica, die in zip((ours, anew), dice, strict=True):
            step(replica, die)
        assert ours.it.act_until() == anew.it.act_until()
        assert ours.it.in_play() == anew.it.in_play()
        assert (ours.views, ours.notes, ours.unsettled) == (anew.views, anew.notes, anew.unsettled)
        for name, peer in ours.it.peers.items():
            assert peer.flushed == anew.it.peers[name].flushed


def test_in_a_mesh_at_rest_a_heartbeat_looks_at_no_other_peer() -> None:
    replica = Replica()
    replica.it.tick(0.0)
    for _ in range(3):
        for other in OTHERS[:3]:
            if other.name not in replica.it.peers:
                replica.link(other)
            replica.says(other, A, *OTHERS[:3])
            replica.beat(other)
    assert replica.it.view.members == {A, *OTHERS[:3]}
    assert replica.it._unfinished() == []
    replica.says(B, B)
    assert [peer.member for peer in replica.it._unfinished()] == [B], "it has to admit us again"
