"""Deliberate faults of rights that a majority takes from dead replicas (`reclaim`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from actonce.escrow import Account
from actonce.leases import Leases, Row

from .limited import Patch


def reclaimed_too_early(patch: Patch) -> None:
    """Voters give a holder up once it is suspected, though it still counts on their last answer."""
    patch.setattr(Leases, "ends", lambda self, spec, holder: self._heard.get(holder, self._started) + 1.6)


def taken_for_fresh(patch: Patch) -> None:
    """Rights that were taken are used at once, though their holder used them a moment ago."""
    takings = Leases._takings

    def hasty(self: Leases, spec: Any, holder: str) -> Iterator[Row]:
        for resource, giver, to, total, _ in takings(self, spec, holder):
            yield resource, giver, to, total, 0

    patch.setattr(Leases, "_takings", hasty)


def kept_by_who_returns(patch: Patch) -> None:
    """A holder that comes back goes on with rights that were taken."""
    patch.setattr(Account, "forfeit", lambda self, now: False)


def given_unannounced(patch: Patch) -> None:
    """What a minority gave away among themselves, the majority takes as well."""
    patch.setattr(Account, "allowance", property(lambda self: self.held))
