"""Entries about limited resources; what they mean, and how they are joined, is in `quota`."""

from .facts import Count, Fact, Key


class Gift(Fact, frozen=True, tag="gift"):
    """Of a limited resource, `total` rights went from `giver` to `to` in all, `late` of them while still in use.

    Holders are written ``name/journal``. From a holder to itself: the rights that it founded.
    """

    giver: Key
    to: Key
    total: Count
    late: Count


class Share(Fact, frozen=True, tag="share"):
    """The `seq`-th word of a holder about its rights: `open` of them may be in use in `period` (0: no calendar).

    `late` counts the rights received while in use whose use is over.
    """

    holder: Key
    seq: Count
    open: Count
    late: Count
    period: Count
    away: Count = 0
    """It will not have given away more than so many in all, before it says so again."""
    lease_ms: Count = 0
    """It uses rights for so long after a majority last answered it, and not longer; 0: without end."""


class Lapse(Fact, frozen=True, tag="lapse"):
    """The author, a voter with this journal in this roster version, has not heard of `holder` for the lease of its
    rights of the quota `key`: it does not vouch for their use any more, until this `session` of them is settled.
    """

    holder: Key
    session: Count
    journal: Key
    roster: Count


class Cool(Fact, frozen=True, tag="cool"):
    """The provider asked for a pause of `for_ms` milliseconds, and is used at `factor` thousandths of the limit."""

    for_ms: Count
    factor: Count
