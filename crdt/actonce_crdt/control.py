"""What one target (the agent, a kind of task, a replica) may do: a register that several people may set at once.

A plain last-writer register would let whoever counts further, or has the faster clock, undo an emergency stop of which
he never heard. So each switch names those that it replaces, as the values of a multi-value register do (Shapiro,
Preguica, Baquero, Zawirski: "A comprehensive study of convergent and commutative replicated data types", 2011, 3.2.2),
and those that nobody has replaced are *in force*, all of them. A resume undoes what its author knew, and nothing else.

field     keeps                                         why
switches  for each author the largest (number, stamp)   its later word stands for its earlier ones: it replaced them
shuts     for each author the largest (sum of seen, stamp)  what one author has seen only grows

Numbers count from the switches that the author knew, never from a clock.
"""

from dataclasses import dataclass

from .lattice import each_greatest
from .switch import Shut, Switch

AGENT = "agent"
"""The target that is everything."""


def kind_target(kind: str) -> str:
    """The target that is one kind of task."""
    return f"kind:{kind}"


def replica_target(name: str) -> str:
    """The target that is one replica."""
    return f"replica:{name}"


@dataclass(frozen=True, slots=True)
class ControlState:
    """What is known of one target. Both sorted by author, one an author."""

    switches: tuple[Switch, ...] = ()
    shuts: tuple[Shut, ...] = ()

    @property
    def in_force(self) -> tuple[Switch, ...]:
        """The switches that nobody has replaced, without those that let everything run, by author."""
        replaced: dict[str, int] = {}
        for switch in self.switches:
            for author, number in switch.over:
                replaced[author] = max(number, replaced.get(author, 0))
        left = (one for one in self.switches if one.number > replaced.get(one.author, 0))
        return tuple(one for one in left if one.mode != "run")

    @property
    def known(self) -> tuple[tuple[str, int], ...]:
        """All switches: what a new one replaces."""
        return tuple((switch.author, switch.number) for switch in self.switches)

    @property
    def next_number(self) -> int:
        """Of the next switch that anybody who knows this sets."""
        return max((switch.number for switch in self.switches), default=0) + 1

    def is_shut(self, name: str, switch: Switch) -> bool:
        """Whether the replica `name` has confirmed this switch."""
        dots = (shut.seen for shut in self.shuts if shut.author == name)
        return any(author == switch.author and number >= switch.number for seen in dots for author, number in seen)

    def records(self) -> list[Switch | Shut]:
        """Entries whose join is this state: enough to write it down again."""
        return [*self.switches, *self.shuts]


def join(a: ControlState, b: ControlState) -> ControlState:
    """Least upper bound: commutative, associative, idempotent. Both must be states of the same target."""
    switches = each_greatest(a.switches, b.switches, _author, _switch_order)
    return ControlState(switches, each_greatest(a.shuts, b.shuts, _author, _shut_order))


def lift(record: Switch | Shut) -> ControlState:
    """The state that one entry alone stands for."""
    return ControlState(switches=(record,)) if isinstance(record, Switch) else ControlState(shuts=(record,))


def _author(record: Switch | Shut) -> tuple[str]:
    return (record.author,)


def _switch_order(switch: Switch) -> tuple[int | str, ...]:
    return switch.number, switch.stamp


def _shut_order(shut: Shut) -> tuple[int | str, ...]:
    return sum(number for _, number in shut.seen), shut.stamp
