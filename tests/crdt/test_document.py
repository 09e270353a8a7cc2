from collections.abc import Callable
from typing import Any

import pytest
from pycrdt import Array, Doc

from actonce_crdt import (
    EMPTY_UPDATE,
    ENTRY_BYTES_MAX,
    Document,
    DocumentPoisoned,
    Entry,
    EntryInvalid,
    EntryTooLarge,
    UpdateGap,
    UpdateInvalid,
)

from .histories import check
from .raw import chain, deletes, first, update
from .truncating import truncate


def pair() -> tuple[Document, Document]:
    return Document("a", 5), Document("b", 6)


def test_appended_entries_arrive() -> None:
    a, b = pair()
    change = a.append([b"x", b"y"])
    expected = (Entry((5, 0), "a", b"x"), Entry((5, 1), "a", b"y"))
    assert change.added == expected
    assert change.removed == ()
    assert b.integrate(change.update) == change
    assert tuple(b.entries()) == expected
    assert b.digest == a.digest != Document("c", 7).digest
    assert b.state_vector() == a.state_vector() == {5: 2}
    assert (a.next_clock, b.next_clock, a.entry_count, b.entry_count) == (2, 0, 2, 2)
    assert a.logs() == b.logs() == ["a"]
    check(a)
    check(b)


def test_nothing_new_is_no_change() -> None:
    a, b = pair()
    assert not a.append([])
    change = a.append([b"x"])
    assert b.integrate(change.update)
    again = b.integrate(change.update)
    assert not again
    assert (again.update, again.added, again.removed) == (EMPTY_UPDATE, (), ())
    assert a.diff(b.state_vector()) == EMPTY_UPDATE


def test_a_change_carries_only_what_was_new() -> None:
    a, b = pair()
    early = a.append([b"x"])
    late = a.append([b"y"])
    b.integrate(early.update)
    assert b.integrate(a.diff({})).update == late.update


def test_a_gap_is_refused_and_a_difference_closes_it() -> None:
    a, b = pair()
    a.append([b"x"])
    lost = a.append([b"y"])
    with pytest.raises(UpdateGap):
        b.integrate(lost.update)
    assert b.entry_count == 0
    b.integrate(a.diff(b.state_vector()))
    assert b.digest == a.digest


def test_truncation_removes_the_oldest_entries_everywhere() -> None:
    a, b = pair()
    b.integrate(a.append([b"x", b"y", b"z"]).update)
    change = truncate(b, "a", 2)
    assert change.removed == ((5, 0), (5, 1))
    assert a.integrate(change.update) == change
    assert not a.integrate(change.update)
    assert [entry.data for entry in a.entries()] == [b"z"]
    assert a.digest == b.digest
    assert a.entry_count == b.entry_count == 1
    check(a)
    check(b)


def test_truncation_goes_through_the_incarnations_in_order() -> None:
    old, new = Document("a", 900), Document("a", 5)
    new.integrate(old.append([b"1", b"2"]).update)
    new.append([b"3", b"4"])
    assert [entry.data for entry in new.entries()] == [b"1", b"2", b"3", b"4"]
    assert truncate(new, "a", 3).removed == ((900, 0), (900, 1), (5, 0))
    assert [entry.data for entry in new.entries()] == [b"4"]
    check(new)


def test_truncations_that_cross_join() -> None:
    a, b = pair()
    b.integrate(a.append([b"x", b"y", b"z"]).update)
    one, two = truncate(a, "a", 1), truncate(b, "a", 2)
    assert b.integrate(one.update).removed == ()
    assert a.integrate(two.update).removed == ((5, 1),)
    assert a.digest == b.digest


def test_a_missed_truncation_is_a_gap_and_made_good_by_a_difference() -> None:
    a, b = pair()
    b.integrate(a.append([b"x", b"y", b"z"]).update)
    truncate(a, "a", 1)
    with pytest.raises(UpdateGap, match="removals of client 5 start at clock 1, known up to 0"):
        b.integrate(truncate(a, "a", 1).update)
    assert b.integrate(a.diff(b.state_vector())).removed == ((5, 0), (5, 1))


@pytest.mark.parametrize(("log", "count"), [("a", 3), ("a", -1), ("nobody", 1)])
def test_truncation_of_more_than_there_is_fails(log: str, count: int) -> None:
    a, _ = pair()
    a.append([b"x", b"y"])
    with pytest.raises(ValueError, match="cannot remove"):
        truncate(a, log, count)
    assert a.entry_count == 2


def test_truncation_of_nothing_changes_nothing() -> None:
    a, _ = pair()
    assert not truncate(a, "a", 0)


def test_a_truncated_document_is_small() -> None:
    a = Document("a", 5)
    for number in range(2_000):
        a.append([b"%d" % number] * 5)
        truncate(a, "a", 5)
    assert len(a.diff({})) < 40
    assert a.entry_count == 0
    assert a.next_clock == 10_000
    b = Document("b", 6)
    b.integrate(a.diff({}))
    assert b.state_vector() == a.state_vector()
    assert a.append([b"x"]).added == b.integrate(a.diff(b.state_vector())).added


def test_the_digest_counts_entries_and_names_logs() -> None:
    a, b = pair()
    a.append([b"x"])
    once = a.digest
    a.append([b"x"])
    assert a.digest != once
    b.append([b"x"])
    assert b.digest != once  # the same data in another log
    truncate(a, "a", 1)
    assert a.digest == once
    truncate(a, "a", 1)
    assert a.digest == bytes(16)


def test_data_that_no_replica_would_accept_is_not_appended() -> None:
    a, b = pair()
    with pytest.raises(EntryTooLarge):
        a.append([b"x", b"y" * (ENTRY_BYTES_MAX + 1)])
    with pytest.raises(EntryInvalid):
        a.append([b"x", b""])
    wrong: Any = bytearray(b"x")
    with pytest.raises(EntryInvalid):
        a.append([wrong])
    assert a.entry_count == a.next_clock == 0
    b.integrate(a.append([b"y" * ENTRY_BYTES_MAX]).update)
    assert a.digest == b.digest


def test_an_update_is_taken_whole_or_not_at_all() -> None:
    b = Document("b", 6)
    with pytest.raises(UpdateInvalid):
        b.integrate(update(chain(7, 0, first(b"x")), chain(5, 0, first(b"y", root=b"claims"))))
    with pytest.raises(UpdateGap):
        b.integrate(update(chain(7, 0, first(b"x")), deleted=(deletes(5, (0, 1)),)))
    assert b.state_vector() == {}
    check(b)


def test_nobody_else_writes_as_our_client() -> None:
    a = Document("a", 5)
    a.append([b"x"])
    twin = Document("a", 5)
    twin.append([b"x"])
    more = twin.append([b"y"])
    with pytest.raises(UpdateInvalid, match="our own client 5"):
        a.integrate(more.update)
    assert truncate(a, "a", 1)
    check(a)


def test_two_incarnations_that_never_met_share_a_log() -> None:
    one, two, other = Document("a", 8), Document("a", 5), Document("b", 6)
    changes = [one.append([b"1"]), two.append([b"2"]), one.append([b"3"]), two.append([b"4"])]
    for change in (changes[1], changes[3], changes[0], changes[2]):  # one does not wait for the other
        other.integrate(change.update)
    one.integrate(other.diff(one.state_vector()))
    two.integrate(other.diff(two.state_vector()))
    assert one.digest == two.digest == other.digest
    assert other.logs() == ["a"]


def test_their_unknown_clients_and_later_clocks_do_no_harm() -> None:
    a, _ = pair()
    a.append([b"x", b"y"])
    assert a.diff({5: 1, 99: 7}) == a.diff({5: 1}) != EMPTY_UPDATE
    assert a.diff({5: (1 << 31) - 1}) == EMPTY_UPDATE


@pytest.mark.parametrize(("replica", "client_id"), [("A", 1), ("", 1), ("a", 0), ("a", -1), ("a", 1 << 53)])
def test_a_document_needs_a_name_and_a_client_id(replica: str, client_id: int) -> None:
    with pytest.raises(ValueError, match=r"not a replica name|a client id is"):
        Document(replica, client_id)


class _Failing:
    """Stands for the library inside a document."""

    def __init__(self, fail: Callable[[], object]) -> None:
        self.fail = fail

    def apply_update(self, update: bytes) -> None:
        self.fail()


def _real_panic() -> object:
    doc: Doc[Array[int]] = Doc()
    doc["numbers"] = Array([2**70])  # the library panics on it
    return doc


def _value_error() -> object:
    raise ValueError("Cannot decode update")


@pytest.mark.parametrize("fail", [_real_panic, _value_error])
def test_a_panic_poisons_the_document(fail: Callable[[], object]) -> None:
    a = Document("a", 5)
    a.append([b"x"])
    broken: Any = _Failing(fail)
    a._doc = broken
    calls: list[Callable[[], object]] = [
        lambda: a.append([b"y"]),
        lambda: a.integrate(update(chain(7, 0, first(b"x")))),
        lambda: truncate(a, "a", 1),
        lambda: a.diff({}),
        lambda: list(a.entries()),
    ]
    for call in calls:
        with pytest.raises(DocumentPoisoned, match="the CRDT library failed"):
            call()
    assert a.next_clock == 1  # the books say what was sound


def test_an_interrupt_is_not_swallowed() -> None:
    def interrupt() -> object:
        raise KeyboardInterrupt

    a = Document("a", 5)
    broken: Any = _Failing(interrupt)
    a._doc = broken
    with pytest.raises(KeyboardInterrupt):
        a.append([b"x"])
    with pytest.raises(DocumentPoisoned):
        a.append([b"x"])
