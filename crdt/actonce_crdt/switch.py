"""Entries about what the agent may do; what they mean, and how they are joined, is in `control`."""

from .facts import Dots, Fact, Mode, Number, Reason


class Switch(Fact, frozen=True, tag="switch"):
    """Somebody ordered, at the replica `author`, that the target `key` be in this mode: a member of `MODES`.

    `number` is larger than that of every switch of the target that the author knew, and `over` names those that it
    replaces: pairs (author, number), sorted. `reason` is for people.
    """

    number: Number
    mode: Mode
    over: Dots
    reason: Reason


class Shut(Fact, frozen=True, tag="shut"):
    """With all switches of the target `key` read up to these (pairs author, number, sorted), and one of them in force
    that shuts the gate: the author lets no effect out, and none that it let out before is still under way."""

    seen: Dots
