"""Disks that lose what was on them: nothing is lost in silence, no two replicas differ after, nothing is done again
that anybody remembers.

    DISK_FAULTS=10000 DISK_SEEDS=300 pytest tests/simulation/test_disks.py        # the long runs
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace

import pytest

from actonce.journal import UPDATE, Row, checksum
from actonce.recovery import Found, judge, name_rows
from actonce.settings import LAN
from actonce.sim.disk import Disk
from actonce.sim.disk_faults import WAYS, damage
from actonce.sim.plan import Mix, to_json
from actonce.sim.run import run_seed
from actonce.troubles import troubles
from actonce_crdt import Change, Document, Entry, EntryInvalid

from . import planted_disks
from .mesh import Mesh, Plan, run
from .planted import Patch, make_agent, only, scenario

FAULTS = int(os.environ.get("DISK_FAULTS", "100"))
SEEDS = int(os.environ.get("DISK_SEEDS", "1"))
FIRST_SEED = int(os.environ.get("DISK_FIRST_SEED", "1"))
SCENARIO = scenario(
    12.0,
    20,
    (0.1, 1.0),
    settings=replace(LAN, start_alone_after_s=6.0),
    mix=only((0.2, 1.0), Mix(down_s=(0.0, 1.5)), Damage=8, Crash=2, Pause=1, Leave=1, SlowDisk=1),
    replicas=(2, 4),
)
Story = Callable[[], Coroutine[None, None, Mesh]]


def found_in(seed: int) -> tuple[list[str], Counter[str]]:
    outcome = run_seed(seed, SCENARIO, make_agent)
    return [f"{text} (seed {seed}, plan {to_json(outcome.plan)})" for text in outcome.violations], outcome.sometimes


def test_meshes_whose_disks_are_damaged_again_and_again() -> None:
    sometimes: Counter[str] = Counter()
    violations: list[str] = []
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        found, counted = found_in(seed)
        violations += found
        sometimes += counted
    assert violations == []
    print(sorted(sometimes.items()))
    assert sometimes["damages lossy"] >= SEEDS
    assert sometimes["settled with a peer"]


# One disk, without a mesh around it: many more faults


class Writer:
    """A replica as far as its disk goes: it writes to document and disk, and tells its peer when it is there."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.disk, self.peer = rng, Disk(rng), Document("b", 2)
        self.document, self.told = Document("a", 1), 0
        self.incarnations = 0
        self.start()

    def start(self) -> str:
        recovered = self.disk.open("a")
        self.incarnations += 1
        self.document = Document("a", 1000 + self.incarnations)
        for update in recovered.updates:
            self.document.integrate(update)
        return recovered.damage

    def work(self) -> None:
        """Some commits; the last of them may not have reached the disk."""
        for _ in range(self.rng.randint(1, 8)):
            change: Change = self.document.append([self.rng.randbytes(self.rng.randint(1, 40))])
            self.disk.rows.append(Row(UPDATE, change.update))
            if self.rng.random() < 0.8:
                self.disk.synced = self.disk.mark = len(self.disk.rows)
                for row in self.disk.rows[self.told :]:
                    self.peer.integrate(row.data)
                self.told = len(self.disk.rows)

    def meet(self) -> None:
        """Anti-entropy with the peer, both ways, journaled."""
        change = self.document.integrate(self.peer.diff(self.document.state_vector()))
        if change:
            self.disk.rows.append(Row(UPDATE, change.update))
        self.peer.integrate(self.document.diff(self.peer.state_vector()))
        self.disk.synced = self.disk.mark = self.told = len(self.disk.rows)


def test_one_disk_damaged_again_and_again() -> None:
    """Every loss of a durable row is said, and no other; the id changes with it; the peer's copy makes it whole."""
    rng, ways = random.Random(FIRST_SEED), Counter[tuple[str, bool]]()
    writer = Writer(rng)
    for number in range(FAULTS):
        if number % 30 == 0:
            writer = Writer(rng)
        writer.work()
        writer.disk.crash()
        journal, way = writer.disk.journal, rng.choice(WAYS)
        writer.disk.damage = ""
        lossy = damage(writer.disk, rng, way)
        ways[way, lossy] += 1
        said = writer.start()
        assert bool(said) == lossy, f"fault {number}: {way}: {said!r}"
        assert (writer.disk.journal == journal + 1) is lossy, f"fault {number}: {way}"
        writer.meet()
        assert writer.document.digest == writer.peer.digest, f"fault {number}: {way}"
        assert present(writer.document) == present(writer.peer), f"fault {number}: {way}"
    print(sorted(ways.items()))
    assert all(ways[way, True] for way in WAYS)


def present(document: Document) -> list[tuple[tuple[int, int], bytes]]:
    def key(entry: Entry) -> tuple[tuple[int, int], bytes]:
        return entry.id, entry.data

    return sorted(map(key, document.entries()))


# Stories


def forget(mesh: Mesh, name: str, rows: int) -> None:
    """All after the first rows of this disk is cut off; they are those of a sound, older journal."""
    disk = mesh.nodes[name].disk
    kept = enumerate(disk.rows[:rows], 1)
    disk.image = [Found(seq, row, checksum(seq, row.kind, row.data)) for seq, row in kept], rows


async def forgot_who_joined() -> Mesh:
    """b joins a, does what it is asked, and dies; a dies too, and its disk is set back to before b joined."""
    mesh = Mesh(1, "ab", Plan(work_s=(0.01, 0.02)))
    await mesh.form("a")
    alone = mesh.nodes["a"].disk.synced
    mesh.start("b")
    assert await mesh.formed(), mesh.story()
    key = mesh.key_of("b")
    mesh.ask(key)
    assert await mesh.until(lambda: bool(mesh.feed.posts), 5.0), mesh.story()
    mesh.kill("b")
    mesh.kill("a")
    forget(mesh, "a", alone)
    mesh.start("a", new=True)  # as a script may: it counts only with an empty journal
    mesh.ask(key, "a")
    await asyncio.sleep(2 * LAN.start_alone_after_s)
    if len(mesh.feed.posts) > 1:
        mesh.failures.append("acted on what it may have forgotten")
    mesh.start("b")
    await mesh.check_once([key])
    return mesh


async def all_start_and_one_forgot() -> Mesh:
    """b and c die, a does what it is asked and dies, its disk is lost. All start: who knows whether that was done?

    Nobody: so they wait for a memory that may come, and then say that they act as after a partition.
    """
    mesh = Mesh(2, "abc")
    await mesh.form()
    mesh.kill("b")
    mesh.kill("c")
    mesh.ask("m", "a")
    assert await mesh.quiet(), mesh.story()
    mesh.kill("a")
    mesh.damage("a", "gone")
    for name in mesh.names:
        mesh.start(name)
    mesh.ask("m")
    await asyncio.sleep(LAN.start_alone_after_s / 2)
    if len(mesh.feed.posts) > 1:
        mesh.failures.append("acted on what may be forgotten")
    assert await mesh.quiet(), mesh.story()
    notes = [text for engine in mesh.live() for _, text in engine.notes]
    assert any("acting as after a partition" in text for text in notes), mesh.story()
    assert any("the journal was damaged: rows 1 to" in text for text in notes), mesh.story()
    return mesh


async def one_slept_and_one_forgot() -> Mesh:
    """a sleeps, out of reach; b does what it is asked and dies, its disk is lost. Back comes a b that does not know."""
    mesh = Mesh(5, "ab")
    await mesh.form()
    mesh.pause("a")
    mesh.network.cut({"a"}, {"b"})
    mesh.network.drop("a", "b")
    await asyncio.sleep(2 * (LAN.suspicion_s + LAN.grace_s))
    mesh.ask("m", "b")
    assert await mesh.until(lambda: bool(mesh.feed.posts), 5.0), mesh.story()
    mesh.kill("b")
    mesh.damage("b", "gone")
    mesh.network.heal()
    mesh.start("b")
    mesh.resume("a")
    mesh.ask("m")
    await asyncio.sleep(LAN.start_alone_after_s / 2)
    if len(mesh.feed.posts) > 1:
        mesh.failures.append("acted on what may be forgotten")
    assert await mesh.quiet(), mesh.story()
    return mesh


async def a_newcomer_at_a_cold_start() -> Mesh:
    """a and b die and start again, and in that moment c joins for the first time: nobody waits for c's promise, while c
    waits for their word."""
    mesh = Mesh(3, "abc")
    await mesh.form("ab")
    mesh.kill("a")
    mesh.kill("b")
    for name in mesh.names:
        mesh.start(name)
    assert await mesh.formed(), mesh.story()
    mesh.ask("m")
    await mesh.check_once(["m"])
    return mesh


async def set_back_as_a_whole() -> Mesh:
    """The disk of a is replaced by an older copy of all of it, the mark included: the others know better."""
    mesh = Mesh(4, "ab")
    await mesh.form()
    disk = mesh.nodes["a"].disk
    rows, durable = list(disk.rows), disk.synced
    keys = [mesh.key_of("a", nth=number) for number in range(3)]
    for key in keys:
        mesh.ask(key)
    assert await mesh.quiet(), mesh.story()
    mesh.kill("a")
    disk.rows[:], disk.synced, disk.mark = rows, durable, durable
    mesh.start("a")
    mesh.ask(keys[0])
    await mesh.check_once(keys)
    said = list(troubles(mesh.engine("a")))
    assert any("entries of this replica that its journal had lost" in text for text in said), said
    assert not list(troubles(mesh.engine("b")))
    return mesh


STORIES: tuple[Story, ...] = (
    forgot_who_joined,
    all_start_and_one_forgot,
    one_slept_and_one_forgot,
    a_newcomer_at_a_cold_start,
    set_back_as_a_whole,
)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_a_story_ends_well(story: Story) -> None:
    assert run(story).failures == []


@pytest.mark.parametrize(
    ("bug", "story"),
    [
        (planted_disks.memory_trusted, forgot_who_joined),
        (planted_disks.mark_ignored, forgot_who_joined),
        (planted_disks.started_as_empty, forgot_who_joined),
        (planted_disks.forgetful_counts, all_start_and_one_forgot),
        (planted_disks.forgetful_counts, a_newcomer_at_a_cold_start),
        (planted_disks.successors_all_speak, one_slept_and_one_forgot),
    ],
    ids=lambda value: value.__name__,
)
def test_a_bug_spoils_its_story(bug: Callable[[Patch], None], story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    try:
        mesh = run(story)
    except AssertionError:
        return
    assert mesh.failures


@pytest.mark.parametrize(
    ("bug", "says"),
    [
        (planted_disks.checksum_ignored, "as if nothing had happened|not msgpack|not valid|not converged"),
        (planted_disks.mark_ignored, "as if nothing had happened"),
        (planted_disks.started_as_empty, "as if nothing had happened"),
        (planted_disks.journal_id_kept, "as if nothing had happened"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bug_is_found_in_a_few_seeds(bug: Callable[[Patch], None], says: str) -> None:
    for seed in range(1, 4):
        with pytest.MonkeyPatch.context() as patch:
            bug(patch)
            try:
                violations = found_in(seed)[0]
            except EntryInvalid as error:  # a document with such an entry stops the checker that reads it back
                violations = [str(error)]
        if any(re.search(says, text) for text in violations):
            return
    pytest.fail("not found")


def test_lost_rows_are_named() -> None:
    assert name_rows([]) == ""
    assert name_rows([4]) == "row 4"
    assert name_rows([4, 5]) == "rows 4 to 5"
    assert name_rows([1, 3, 4, 7]) == "rows 1, 3 to 4 and 7"
    assert name_rows([1, 3, 5, 7, 9, 10]) == "rows 1, 3, 5 and 3 more"
    assert judge([], 0).lost == ""
    assert judge([], 2).lost == "rows 1 to 2"
    rows = [(1, "journal"), (7, "snapshot"), (8, "update")]  # what a snapshot took the place of is not lost
    image = [Found(seq, Row(kind, b""), checksum(seq, kind, b"")) for seq, kind in rows]
    assert judge(image, 8).lost == ""
    assert judge(image[1:], 9).lost == "rows 1 and 9"
