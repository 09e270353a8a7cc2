"""Rights to use a limited resource: a transfer matrix, as in the bounded counter (Balegas et al., arXiv 1503.09052).

A *resource* is one limit (say 60 requests a minute) and has that many rights. A *holder* is one journal of one replica,
``name/journal``: a replica that lost its disk is another holder, with none of the rights of the old one. The matrix
holds for each (giver, receiver) how many rights went that way in all, a number that only grows and that only the giver
writes. A gift from a holder to itself is the founding: the rights that exist. Hence, for every holder,

    held = founded by it + received - given

Rights that a majority took from a dead holder are gifts of ``holder!``: its own gifts stay its own.
Rights are moved, never made; what one holder knows of its own gifts is on its own disk before anybody else hears of
it. So the rights that all holders believe to hold never add up to more than were founded, whatever is cut or crashes.

field    keeps                                            why
gifts   for each (giver, receiver) the largest total      only the giver writes it, and it only grows
shares   for each holder the largest seq                   a register with one writer
lapses   for each (holder, voter, journal) the largest     what a voter gave up, it gave up for good
         (session, roster)
cool     the latest end, then (stamp, author)              all obey the longest cool-down
factor   the largest (stamp, author)                       the latest complaint of the provider
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .entries import QuotaRecord
from .lattice import greatest
from .rights import Cool, Gift, Lapse, Share

_NO_GIFTS: Mapping[tuple[str, str], Gift] = MappingProxyType({})
_NO_SHARES: Mapping[str, Share] = MappingProxyType({})
_NO_LAPSES: Mapping[tuple[str, str, str], Lapse] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class QuotaState:
    """What is known of one resource."""

    gifts: Mapping[tuple[str, str], Gift] = field(default_factory=lambda: _NO_GIFTS)
    """(giver, receiver) -> the newest gift."""
    shares: Mapping[str, Share] = field(default_factory=lambda: _NO_SHARES)
    """Holder -> its newest word."""
    cool: Cool | None = None
    factor: Cool | None = None
    lapses: Mapping[tuple[str, str, str], Lapse] = field(default_factory=lambda: _NO_LAPSES)
    """(holder, voter, journal of the voter) -> the newest."""

    def held(self, holder: str) -> int:
        """Rights of `holder` as far as they are known here. For another holder this may be out of date, even negative:
        a gift may be known before the gift that it was made from."""
        balance = 0
        for (giver, to), gift in self.gifts.items():
            balance += gift.total * ((to == holder) - (giver.removesuffix(TAKEN) == holder and to != giver))
        return balance

    def late(self, holder: str) -> int:
        """Of all rights that `holder` ever received, how many were still in use when they were given."""
        return sum(gift.late for (giver, to), gift in self.gifts.items() if to == holder)

    def received(self, holder: str) -> int:
        """Rights that `holder` ever had, founded or given."""
        return sum(gift.total for (_, to), gift in self.gifts.items() if to == holder)

    def given(self, holder: str) -> int:
        """Rights that `holder` itself ever gave away, as far as known here."""
        return sum(gift.total for (giver, to), gift in self.gifts.items() if giver == holder != to)

    def taken(self, holder: str) -> int:
        """Rights that were ever taken from `holder`, as far as known here."""
        return sum(gift.total for (giver, _), gift in self.gifts.items() if giver == holder + TAKEN)

    @property
    def founded(self) -> int:
        """Rights that were ever made."""
        return sum(gift.total for (giver, to), gift in self.gifts.items() if giver == to)

    @property
    def destroyed(self) -> int:
        """Rights given to nobody, because a limit was lowered."""
        return sum(gift.total for (_, to), gift in self.gifts.items() if to == NOBODY)

    @property
    def holders(self) -> list[str]:
        """Everybody who ever held a right, sorted."""
        return sorted({holder.removesuffix(TAKEN) for pair in self.gifts for holder in pair} - {NOBODY})

    def records(self) -> list[QuotaRecord]:
        """Entries whose join is this state: enough to write it down again."""
        found: dict[QuotaRecord, None] = {}
        for gift in self.gifts.values():
            found[gift] = None
        for share in self.shares.values():
            found[share] = None
        for lapse in self.lapses.values():
            found[lapse] = None
        for cool in (self.cool, self.factor):
            if cool is not None:
                found[cool] = None
        return list(found)


NOBODY = "-"
"""Receiver of rights that cease to exist."""
TAKEN = "!"
"""Ends the name of a giver that did not give by itself."""


def join(a: QuotaState, b: QuotaState) -> QuotaState:
    """Least upper bound: commutative, associative, idempotent. Both must be states of the same resource."""
    gifts = dict(a.gifts)
    for pair, gift in b.gifts.items():
        newest = greatest(gifts.get(pair), gift, _gift_order)
        assert newest is not None
        gifts[pair] = newest
    shares = dict(a.shares)
    for holder, share in b.shares.items():
        last = greatest(shares.get(holder), share, _share_order)
        assert last is not None
        shares[holder] = last
    lapses = dict(a.lapses)
    for voter, lapse in b.lapses.items():
        latest = greatest(lapses.get(voter), lapse, _lapse_order)
        assert latest is not None
        lapses[voter] = latest
    cool, factor = greatest(a.cool, b.cool, _cool_order), greatest(a.factor, b.factor, _factor_order)
    return QuotaState(gifts, shares, cool, factor, lapses)


def lift(record: QuotaRecord) -> QuotaState:
    """The state that one entry alone stands for."""
    match record:
        case Gift():
            return QuotaState(gifts={(record.giver, record.to): record})
        case Share():
            return QuotaState(shares={record.holder: record})
        case Lapse():
            return QuotaState(lapses={(record.holder, record.author, record.journal): record})
        case Cool():
            return QuotaState(cool=record, factor=record)


def ends_ms(cool: Cool) -> int:
    """Unix milliseconds, by its author's clock, when a cool-down ends."""
    return (cool.stamp >> 16) + cool.for_ms


def _gift_order(gift: Gift) -> tuple[int | str, ...]:
    return gift.total, gift.late, gift.stamp, gift.author


def _share_order(share: Share) -> tuple[int | str, ...]:
    return share.seq, share.stamp, share.author


def _lapse_order(lapse: Lapse) -> tuple[int | str, ...]:
    return lapse.session, lapse.roster, lapse.stamp, lapse.author


def _cool_order(cool: Cool) -> tuple[int | str, ...]:
    return ends_ms(cool), cool.stamp, cool.author


def _factor_order(cool: Cool) -> tuple[int | str, ...]:
    return cool.stamp, cool.author
