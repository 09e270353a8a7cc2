"""Who is there to use rights, and what each says that it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from actonce.membership import Membership
from actonce.messages import Want
from actonce.settings import Settings

NEED_KEPT_S = 3.0
"""What a peer said it needs counts for so long."""
NEED_AGAIN_S = 1.0
"""A need that does not change is said again after this."""


@dataclass(slots=True)
class _Need:
    needs: dict[str, tuple[int, int]] = field(default_factory=dict)
    at: float = -math.inf


class Needs:
    """The needs of everybody in touch, by the word of each."""

    def __init__(
        self,
        settings: Settings,
        membership: Membership,
        holder: str,
        now: Callable[[], float],
        say: Callable[[Want], None],
    ) -> None:
        """
        Args:
            holder: our own name as one.
            say: tells every linked peer.
        """
        self._settings, self._membership, self._holder, self._now, self._say = settings, membership, holder, now, say
        self._needs: dict[str, _Need] = {}
        self._said: Mapping[str, tuple[int, int]] = {}
        self._said_at = -math.inf

    def heard(self, name: str, word: Want) -> None:
        """A peer says what it needs."""
        self._needs[name] = _Need(dict(word.needs), self._now())

    def present(self) -> dict[str, str]:
        """Holder -> name, of everybody who could use a right right now, us included."""
        members, found = self._membership.view.members, {self._holder: self._membership.me.name}
        for name, peer in sorted(self._membership.peers.items()):
            if peer.linked and not peer.leaving and peer.about is not None and peer.member in members:
                found[f"{name}/{peer.about.journal}"] = name
        return found

    def users(self, key: str) -> dict[str, str]:
        """Those of them that know this resource: one that runs older declarations could do nothing with rights."""
        here = self.present().items()
        return {holder: name for holder, name in here if holder == self._holder or self._need(name, key) is not None}

    def of(self, name: str, key: str) -> tuple[int, int]:
        """(demand, how many are waited for that it cannot find itself) of a peer."""
        return self._need(name, key) or (0, 0)

    def tell(self, needs: Mapping[str, tuple[int, int]]) -> None:
        """Say what we need, unless that was said a moment ago."""
        now = self._now()
        again_s = NEED_AGAIN_S if needs == self._said else self._settings.heartbeat_s
        if now - self._said_at >= again_s:
            self._said, self._said_at = needs, now
            self._say(Want(needs))

    def _need(self, name: str, key: str) -> tuple[int, int] | None:
        need = self._needs.get(name)
        if need is None or self._now() - need.at > NEED_KEPT_S:
            return None
        return need.needs.get(key)
