"""Memory: the laws of its two lattices, and what concurrent writers see."""

from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from actonce_crdt import Cell, CellState, State, Tally, TallyState, memory, pack_value, parse_place, place, unpack_value

from .records import cells, tallies

ONE = st.just("key")
cell_states = st.lists(cells(ONE), max_size=4).map(lambda found: held(*found))
tally_states = st.lists(tallies(ONE), max_size=4).map(lambda found: counted(*found))


def held(*found: Cell) -> CellState:
    return reduce(memory.join_cells, map(memory.lift_cell, found), CellState())


def counted(*found: Tally) -> TallyState:
    return reduce(memory.join_tallies, map(memory.lift_tally, found), TallyState())


@given(cell_states, cell_states, cell_states)
def test_place_laws(a: CellState, b: CellState, c: CellState) -> None:
    assert memory.join_cells(a, b) == memory.join_cells(b, a)
    assert memory.join_cells(memory.join_cells(a, b), c) == memory.join_cells(a, memory.join_cells(b, c))
    assert memory.join_cells(a, a) == a
    assert memory.join_cells(a, CellState()) == a
    both = memory.join_cells(a, b)
    assert memory.join_cells(both, a) == both


@given(tally_states, tally_states, tally_states)
def test_counter_laws(a: TallyState, b: TallyState, c: TallyState) -> None:
    assert memory.join_tallies(a, b) == memory.join_tallies(b, a)
    assert memory.join_tallies(memory.join_tallies(a, b), c) == memory.join_tallies(a, memory.join_tallies(b, c))
    assert memory.join_tallies(a, a) == a
    both = memory.join_tallies(a, b)
    assert memory.join_tallies(both, a) == both


class Writer:
    """A replica that writes to one place, on what it has seen."""

    def __init__(self, name: str) -> None:
        self.name, self.state, self.stamp = name, CellState(), 0

    def write(self, value: object, *, expires_ms: int = 0) -> Cell:
        self.stamp = max(self.stamp, *(stamp for _, stamp in self.state.context()), 0) + 1
        packed = b"" if value is None else pack_value(str(value))
        cell = Cell("r:k", self.stamp, self.name, packed, self.state.context(), expires_ms, "")
        self.state = memory.join_cells(self.state, memory.lift_cell(cell))
        return cell

    def hear(self, other: "Writer") -> None:
        self.state = memory.join_cells(self.state, other.state)

    def values(self, now_ms: int = 0) -> list[object]:
        return [unpack_value(cell.value) for cell in self.state.values(now_ms)]


steps = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["write", "erase", "hear"]), st.sampled_from("abc")))


@given(steps)
def test_a_write_is_replaced_only_by_one_who_had_seen_it(history: list[tuple[str, str, str]]) -> None:
    """Against the definition: all writes, and for each the set of those that its writer knew."""
    writers = {name: Writer(name) for name in "abc"}
    known: dict[str, set[Cell]] = {name: set() for name in "abc"}
    replaced: dict[Cell, set[Cell]] = {}
    for name, what, other in history:
        if what == "hear":
            writers[name].hear(writers[other])
            known[name] |= known[other]
        else:
            cell = writers[name].write(None if what == "erase" else len(replaced))
            replaced[cell] = set(known[name])
            known[name].add(cell)
        expected = known[name] - set().union(*(replaced[cell] for cell in known[name]))
        assert set(writers[name].state.live) == expected
        records = writers[name].state.records()
        assert set(held(*records).live) == expected, "what is written anew by compaction means the same"


def test_concurrent_values_stay_until_somebody_who_saw_both_writes() -> None:
    a, b = Writer("a"), Writer("b")
    a.write("first")
    b.hear(a)
    a.write("from a")
    b.write("from b")
    a.hear(b)
    assert a.values() == ["from b", "from a"]
    a.write("merged")
    b.hear(a)
    assert b.values() == a.values() == ["merged"]


def test_of_an_addition_and_a_removal_at_once_the_addition_is_read() -> None:
    a, b = Writer("a"), Writer("b")
    a.write("x")
    b.hear(a)
    a.write("x")
    b.write(None)
    a.hear(b)
    assert a.values() == ["x"]
    a.write(None)
    assert a.values() == []


def test_what_expires_is_not_read() -> None:
    a = Writer("a")
    a.write("soon gone", expires_ms=1000)
    assert a.values(999) == ["soon gone"]
    assert a.values(1000) == []


def test_a_counter_adds_up_what_each_journal_says_last() -> None:
    words = [Tally("c:n", 1, "a", "j1", 1, 5, 0, ""), Tally("c:n", 2, "a", "j1", 2, 7, 1, "")]
    words += [Tally("c:n", 3, "a", "j2", 1, 1, 0, ""), Tally("c:n", 1, "b", "j1", 1, 0, 4, "")]
    assert counted(*words).value == counted(*reversed(words)).value == 7 - 1 + 1 - 4


def test_the_state_knows_its_names_and_their_bytes() -> None:
    state = State()
    one = Cell(place("m", "users", "ada"), 1, "a", b"123", (), 0, "t")
    two = Cell(place("m", "users", "ada"), 2, "b", b"12345", (("a", 1),), 0, "t")
    state.add((1, 0), one)
    assert (state.remembered, state.cell_bytes) == (["users"], 3)
    state.add((2, 0), two)
    state.add((2, 1), Tally(place("c", "posts"), 3, "b", "j", 1, 1, 0, ""))
    assert (state.remembered, state.cell_bytes) == (["posts", "users"], 5)
    assert state.writes("users") == [one, two]
    state.remove((2, 0))
    assert state.cells[one.key].live == (one,)
    state.remove((1, 0))
    state.remove((2, 1))
    assert (state.remembered, state.cell_bytes) == ([], 0)


def test_the_key_of_a_place_says_what_it_is() -> None:
    assert parse_place(place("s", "a:b", "c\0d")) == ("s", "a:b", "c\0d")
    assert parse_place("s:a") is None
    assert parse_place("x:a\0") is None
