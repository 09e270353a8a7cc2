"""A crash at each point of a scripted run: before every frame, journal row, sync and effect of one replica.

The script runs once to count the points of the victim. Then it runs again for each of them, with the victim killed
there: what its disk had not synced is lost as far as the seed says, in whole, or not at all. It starts again, the mesh
does all that was ever acknowledged, and every checker looks at the history. Times are virtual seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from actonce.sim.cluster import Cluster, FeedSink
from actonce.sim.disk import Disk
from actonce.sim.work_checkers import LIVENESS, SAFETY
from actonce_crdt import Json

from . import planted
from .mesh import Mesh, run
from .mesh import Plan as Handlers

VICTIM = "b"
DOWN_S = 0.05
SPREAD_S = 0.02
"""Between two messages of the script."""
POINTS_MIN = 40
"""A script with fewer would not be worth the name."""


class PointSink(FeedSink):
    """Passing the gate is a point too."""

    async def publish(self, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        def watched() -> None:
            gate()
            self._world.guard(self._world.point)

        receipt = await super().publish(body, key, fence, watched)
        await self._world.alive()
        return receipt


def lose_all(self: Disk) -> None:
    """Nothing of what is not synced survives."""
    del self.rows[self.synced :]


def lose_nothing(self: Disk) -> None:
    """All that was handed to the disk survives, acknowledged or not."""
    self.synced = len(self.rows)


async def script(seed: int, point: int | None) -> tuple[Mesh, int]:
    """Four messages, one of them only to the victim, which answers two. Returns how many points it went through."""
    mesh = Mesh(seed, "abc", Handlers(work_s=(0.0, 0.02), make_sink=PointSink))
    await mesh.form()
    victim = mesh.world(VICTIM)
    before = victim.points
    if point is not None:
        victim.crash_at = before + point
    keys = [mesh.key_of(VICTIM), mesh.key_of("a"), mesh.key_of(VICTIM, nth=1), mesh.key_of("c")]
    for key in keys:
        mesh.ask(key, *([VICTIM] if key == keys[2] else mesh.names))
        await asyncio.sleep(SPREAD_S)
    await mesh.until(lambda: victim.dead or (point is None and not mesh.engine(VICTIM).claims.open), 1.0)
    points = victim.points - before
    if point is not None:
        assert victim.dead, f"seed {seed}: the victim did not come to point {point}"
        await asyncio.sleep(DOWN_S)
        mesh.start(VICTIM)
    await mesh.quiet()
    return mesh, points


def broken(mesh: Cluster) -> list[str]:
    """What the checkers say."""
    return [violation for checker in (*SAFETY, *LIVENESS) for violation in checker(mesh)]


@cache
def points_of(seed: int) -> int:
    mesh, points = run(script, seed, None)
    assert broken(mesh) == [], mesh.story()
    return points


def crashed_everywhere(seed: int, points: range) -> Iterator[str]:
    """Violations over crashes at these points of one script, each with the point that it happened at."""
    for point in points:
        mesh, _ = run(script, seed, point)
        for violation in [*broken(mesh), *(f"{key} was posted twice" for key in mesh.twice())]:
            yield f"seed {seed}, point {point}: {violation}"


def test_the_script_has_points_of_every_sort() -> None:
    assert points_of(1) >= POINTS_MIN


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("disk", [None, lose_all, lose_nothing], ids=["lose-some", "lose-all", "lose-nothing"])
def test_a_crash_at_any_point_loses_and_doubles_nothing(
    seed: int, disk: Callable[[Disk], None] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if disk is not None:
        monkeypatch.setattr(Disk, "crash", disk)
    assert list(crashed_everywhere(seed, range(1, points_of(seed) + 1))) == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (planted.gossip_before_journal, "not on its disk"),
        (planted.doubt_not_asked, "posted"),
        (planted.submit_not_on_disk, "lost on"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_fault_shows_at_some_point(
    fault: Callable[[pytest.MonkeyPatch], None], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = range(1, points_of(1) + 1)
    monkeypatch.setattr(Disk, "crash", lose_all)
    fault(monkeypatch)
    assert any(says in violation for violation in crashed_everywhere(1, points)), f"{fault.__name__} was not found"
