"""Every order of events, in the small: a breadth-first search over the real decision functions of `ownership`.

Two or three replicas, one task. What is around the decisions is abstract: promises under way and held, announcements
that may come late, one crash, one replica at a time that is stopped, and perhaps a pair that cannot hear each other.
Time is abstract too. The inequality of `settings` says: when X gives a silent Y up, whatever X promised Y has run out.

A replica *may act* on the task when it holds the promises of all `required` members and is the `owner` of the task
among those `in_play`. Checked in every state: no two that live may act at once; and nobody acts who has not read the
claim of a dead replica that one of its promisers has read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations
from typing import TypeVar

import pytest

from actonce.ownership import Member, View, in_play, owner, required
from actonce_crdt import order

TASK = "reply/m"
STATES_MAX = 400_000
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Rules:
    """Which rules hold. One is taken out to show that the search would notice."""

    promise: bool = True
    closure: bool = True
    flush: bool = True
    admitted: bool = True
    """Whoever was stopped neither acts nor drops anybody before it holds a promise, given since, that names it."""


@dataclass(frozen=True, slots=True)
class Word:
    """A promise under way: the view, and the claims that were read, when it was given."""

    view: View
    read: frozenset[int]


HELD = "held"
Token = Word | str | None


@dataclass(frozen=True, slots=True)
class World:
    """All that is known of all replicas; index = replica. `known[x][y]` is the view of y that x knows."""

    views: tuple[View, ...]
    known: tuple[tuple[View, ...], ...]
    tokens: tuple[tuple[Token, ...], ...]
    """`tokens[x][y]`: the promise of y to x."""
    read: tuple[frozenset[int], ...]
    """Claimants whose claim each has read."""
    stopped: int = -1
    dead: int = -1
    woken: frozenset[int] = frozenset()
    """Those that were stopped, and are not admitted since."""


def put(row: tuple[Item, ...], at: int, value: Item) -> tuple[Item, ...]:
    return (*row[:at], value, *row[at + 1 :])


def put2(rows: tuple[tuple[Item, ...], ...], x: int, y: int, value: Item) -> tuple[tuple[Item, ...], ...]:
    return put(rows, x, put(rows[x], y, value))


class Search:
    """All worlds that can be reached, and the first that breaks a rule."""

    def __init__(
        self, replicas: int, rules: Rules, *, stops: bool = False, dies: bool = False, cut: frozenset[int] = frozenset()
    ) -> None:
        """
        Args:
            stops: one replica at a time may be stopped.
            dies: the owner of the task may be killed, before or after it claims it.
            cut: two replicas that cannot hear each other.
        """
        self.stops, self.dies = stops, dies
        self.members = [Member("abc"[index], 1) for index in range(replicas)]
        self.all = range(replicas)
        self.rules, self.cut = rules, cut
        self.first = max(self.all, key=lambda index: order(TASK, self.members[index].name))

    def start(self) -> World:
        count = len(self.members)
        view = View(1, frozenset(self.members))
        row: tuple[Token, ...] = (None,) * count
        return World((view,) * count, ((view,) * count,) * count, (row,) * count, (frozenset[int](),) * count)

    def apart(self, x: int, y: int) -> bool:
        return self.cut == {x, y}

    def may_act(self, world: World, x: int) -> bool:
        if x in world.woken and self.rules.admitted:
            return False
        me, mine = self.members[x], world.views[x]
        others = {} if not self.rules.closure else {self.members[y]: world.known[x][y] for y in self.all if y != x}
        for member in required(me, mine, others):
            y = self.members.index(member)
            if self.rules.promise and (world.tokens[x][y] != HELD or me not in world.known[x][y].members):
                return False
        return owner(TASK, in_play(me, mine, others), lambda name: True) == me

    def violation(self, world: World) -> str:
        acting = [x for x in self.all if x not in (world.dead, world.stopped) and self.may_act(world, x)]
        if len(acting) > 1:
            return f"{acting} may act at once"
        for x in acting:
            for y in self.all:
                missed = {world.dead} & world.read[y] - world.read[x]
                if missed and y not in (x, world.dead) and world.tokens[x][y] == HELD:
                    return f"{x} may act and has not read the claim of {missed}, which {y} had read"
        return ""

    def running(self, world: World, x: int) -> bool:
        return x not in (world.dead, world.stopped)

    def change(self, world: World, x: int, members: frozenset[Member], lingering: frozenset[Member]) -> World:
        number = max(world.views[x].number, *(view.number for view in world.known[x])) + 1
        views = put(world.views, x, View(number, members, lingering))
        return replace(world, views=views)

    def steps(self, world: World) -> Iterator[tuple[str, World]]:
        for x in self.all:
            if self.dies and world.dead < 0 and x == self.first:
                yield f"{x} dies", replace(world, dead=x, stopped=-1 if world.stopped == x else world.stopped)
            if self.stops and world.stopped < 0 and x != world.dead:
                yield f"{x} stops", replace(world, stopped=x)
            if self.running(world, x):
                if x == self.first and self.dies and not world.read[x] and self.may_act(world, x):
                    yield f"{x} claims", replace(world, read=put(world.read, x, frozenset({x})))
                for y in self.all:
                    if y != x:
                        yield from self.removals(world, x, y)
        if world.stopped >= 0:
            awake, row = world.stopped, (None,) * len(self.members)
            tokens = put(world.tokens, awake, row) if self.rules.admitted else world.tokens
            yield f"{awake} goes on", replace(world, stopped=-1, tokens=tokens, woken=world.woken | {awake})
        for x, y in permutations(self.all, 2):
            if not self.apart(x, y) and self.running(world, x):
                yield from self.hears(world, x, y)

    def removals(self, world: World, x: int, y: int) -> Iterator[tuple[str, World]]:
        """x drops y."""
        if x in world.woken and self.rules.admitted:
            return
        view, member = world.views[x], self.members[y]
        silent = y == world.stopped or self.apart(x, y)
        if member in view.members and silent:
            yield f"{x} suspects {y}", self.change(world, x, view.members - {member}, view.lingering | {member})
        if member in view.lingering and silent and world.tokens[y][x] is None:
            yield f"{x} gives {y} up", self.change(world, x, view.members, view.lingering - {member})
        if y == world.dead and member in view.members | view.lingering and not self.apart(x, y):
            gone = frozenset({member})
            yield f"{x} knows {y} dead", self.change(world, x, view.members - gone, view.lingering - gone)

    def hears(self, world: World, x: int, y: int) -> Iterator[tuple[str, World]]:
        """Something of y comes to x."""
        token, view = world.tokens[x][y], world.views[y]
        if token is not None and (self.stops or self.cut):  # without silences, time does not matter
            yield f"promise of {y} to {x} ends", replace(world, tokens=put2(world.tokens, x, y, None))
        elif self.running(world, y):
            word = Word(view, world.read[y])
            yield f"{y} answers {x}", replace(world, tokens=put2(world.tokens, x, y, word))
        if isinstance(token, Word) and (token.read <= world.read[x] or not self.rules.flush):
            fresh = token.view.number >= world.known[x][y].number
            known = put2(world.known, x, y, token.view) if fresh else world.known
            tokens = put2(world.tokens, x, y, HELD if fresh else None)
            named = fresh and self.members[x] in token.view.members
            woken = world.woken - {x} if named else world.woken
            yield f"{x} holds the promise of {y}", replace(world, known=known, tokens=tokens, woken=woken)
        if world.known[x][y] != view and y != world.dead and not isinstance(token, Word):
            known, tokens = put2(world.known, x, y, view), put2(world.tokens, x, y, None)
            yield f"{x} reads the view of {y}", replace(world, known=known, tokens=tokens)
        linked = self.members[y] in world.views[x].members | world.views[x].lingering
        news = world.read[y] if self.running(world, y) else world.read[y] & {y}
        if news - world.read[x] and (linked or y != world.dead):
            yield f"{x} reads what {y} has", replace(world, read=put(world.read, x, world.read[x] | news))

    def run(self) -> tuple[str, int]:
        """The shortest way to a violation, or "", and how many worlds were seen."""
        start = self.start()
        came: dict[World, tuple[World, str] | None] = {start: None}
        todo = deque([start])
        while todo:
            world = todo.popleft()
            broken = self.violation(world)
            if broken:
                return self.path(came, world, broken), len(came)
            for name, after in self.steps(world):
                if after not in came:
                    came[after] = (world, name)
                    todo.append(after)
            assert len(came) <= STATES_MAX, "the model has grown beyond what can be searched in a test"
        return "", len(came)

    def path(self, came: dict[World, tuple[World, str] | None], world: World, broken: str) -> str:
        names = [broken]
        step = came[world]
        while step is not None:
            names.append(step[1])
            step = came[step[0]]
        return "; ".join(reversed(names))


NOBODY = frozenset[int]()
ENDS = frozenset({0, 2})


@pytest.mark.parametrize(
    ("replicas", "stops", "dies", "cut", "worlds_min"),
    [
        (2, True, True, NOBODY, 1_000),
        (3, False, True, NOBODY, 1_000),
        (3, False, False, ENDS, 1_000),
    ],
)
def test_in_no_world_two_act_or_one_acts_unknowingly(
    replicas: int, stops: bool, dies: bool, cut: frozenset[int], worlds_min: int
) -> None:
    path, worlds = Search(replicas, Rules(), stops=stops, dies=dies, cut=cut).run()
    assert path == ""
    assert worlds >= worlds_min


@pytest.mark.parametrize(
    ("search", "says"),
    [
        (
            Search(2, Rules(promise=False, admitted=False), stops=True),
            "1 gives 0 up; 0 goes on; [0, 1] may act at once",
        ),
        (Search(2, Rules(admitted=False), stops=True), "may act at once"),
        (Search(3, Rules(closure=False), cut=ENDS), "may act at once"),
        (Search(3, Rules(flush=False), dies=True), "has not read the claim"),
    ],
    ids=["promise", "admitted", "closure", "flush"],
)
def test_without_a_rule_the_search_finds_a_way(search: Search, says: str) -> None:
    path, _ = search.run()
    assert says in path
