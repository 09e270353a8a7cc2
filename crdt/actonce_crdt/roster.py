"""The state of one roster version: which steps of deciding it have been taken. Join-semilattice.

Who votes in version n + 1 is decided by a majority of version n, by single-decree Paxos (Lamport: "Paxos made simple",
2001). Each step is an entry, so that its durability and its spreading are those of all entries:

act      author    means
propose  anybody   a new ballot: promise me that you accept nothing of a lower one
promise  voter     so I do; in ballot `over` I had accepted `voters`
offer    proposer  a majority has promised: accept these `voters`, the ones accepted in the highest ballot if any were
accept   voter     so I do
active   voter     a majority of the version before accepted these `voters`, and I have read all that it had granted

For each (act, author, journal) the entry of the highest ballot is kept.
"""

from dataclasses import dataclass

from .entries import Roster
from .lattice import each_greatest


@dataclass(frozen=True, slots=True)
class RosterState:
    """What is known of one version, sorted by (act, author, journal)."""

    steps: tuple[Roster, ...] = ()


def join(a: RosterState, b: RosterState) -> RosterState:
    """Least upper bound: commutative, associative, idempotent. Both must be states of the same version."""
    return RosterState(each_greatest(a.steps, b.steps, _name, _order))


def lift(record: Roster) -> RosterState:
    """The state that one entry alone stands for."""
    return RosterState((record,))


def _name(step: Roster) -> tuple[str, ...]:
    return step.act, step.author, step.journal


def _order(step: Roster) -> tuple[int | str, ...]:
    return *step.ballot, step.stamp
