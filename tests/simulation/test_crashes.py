"""Replicas that die: at any point, with and without proof, one, some or all of them."""

import asyncio
from itertools import permutations

import pytest

from actonce.settings import LAN
from actonce.sim.disk import Disk

from .mesh import GIVEN_UP_S, Mesh, Plan, dice, run

KILLS = 50
"""How many points of one run are tried."""


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("names", ["a", "ab", "abc", "abcde"])
def test_every_message_is_answered_once(names: str, seed: int) -> None:
    async def scenario() -> None:
        mesh, keys = Mesh(seed, names), [f"m{index}" for index in range(20)]
        await mesh.form()
        for key in keys:
            mesh.ask(key, *dice(seed, key).sample(mesh.names, dice(seed, key).randint(1, len(names))))
        await mesh.check_once(keys)
        assert set(mesh.runs().values()) == {1}, mesh.story()

    run(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_a_message_that_reached_all_is_answered_by_its_owner_without_a_word_between_them(seed: int) -> None:
    async def scenario() -> None:
        mesh = Mesh(seed, "abc")
        await mesh.form()
        keys = [f"m{index}" for index in range(20)]
        for key in keys:
            mesh.ask(key)
        await asyncio.sleep(0)
        await asyncio.sleep(1e-6)
        assert {start.task: start.replica for start in mesh.started} == {
            f"reply/{key}": mesh.owner(key) for key in keys
        }, mesh.story()

    run(scenario)


async def _kill_owner_at(seed: int, point: int) -> Mesh:
    """Its owner is killed at the n-th thing that it does after the message came."""
    mesh = Mesh(seed, "abc", Plan(work_s=(0.0, 0.02)))
    await mesh.form()
    victim = mesh.world("b")
    victim.crash_at = victim.points + point
    keys = [mesh.key_of("b"), mesh.key_of("b", nth=1), mesh.key_of("a")]
    for key in keys:
        mesh.ask(key)
    await asyncio.sleep(0.4)
    assert victim.dead or point > KILLS, f"seed {seed}: no more than {victim.points} points"
    await mesh.check_once(keys)
    assert not mesh.needless, mesh.story()
    return mesh


@pytest.mark.parametrize("point", range(1, KILLS + 1))
def test_killed_at_any_point(point: int) -> None:
    mesh = run(_kill_owner_at, 1, point)
    assert not mesh.lost()


def test_proof_of_death_is_acted_on_at_once() -> None:
    async def scenario() -> None:
        mesh = Mesh(1, "abc", Plan(work_s=(0.2, 0.2)))
        await mesh.form()
        key = mesh.key_of("b")
        mesh.ask(key)
        await asyncio.sleep(0.1)
        killed_at = mesh.loop.time()
        mesh.kill("b")
        await mesh.check_once([key])
        taken = mesh.started[-1]
        assert taken.replica != "b"
        assert taken.at - killed_at < 0.1, mesh.story()

    run(scenario)


def test_on_another_host_an_end_and_two_refusals_are_proof() -> None:
    async def scenario() -> None:
        mesh = Mesh(2, "abc", Plan(work_s=(0.2, 0.2)))
        await mesh.form()
        key = mesh.key_of("b")
        mesh.ask(key)
        await asyncio.sleep(0.1)
        killed_at = mesh.loop.time()
        mesh.kill("b")
        mesh._gone.clear()
        await mesh.check_once([key])
        assert mesh.started[-1].at - killed_at < LAN.suspicion_s, mesh.story()

    run(scenario)


@pytest.mark.parametrize("seed", range(5))
def test_a_death_that_nobody_sees_is_taken_over_after_suspicion_and_grace(seed: int) -> None:
    async def scenario() -> None:
        mesh = Mesh(seed, "abc", Plan(work_s=(0.2, 0.2)))
        await mesh.form()
        key = mesh.key_of("b")
        mesh.ask(key)
        await asyncio.sleep(0.1)
        killed_at = mesh.loop.time()
        mesh.network.cut({"b"}, {"a", "c"})
        mesh.kill("b")
        mesh._gone.clear()
        await mesh.check_once([key])
        silent_s = mesh.started[-1].at - killed_at
        assert GIVEN_UP_S - LAN.heartbeat_s - LAN.tick_s <= silent_s <= GIVEN_UP_S + 0.5, mesh.story()

    run(scenario)


@pytest.mark.parametrize("seed", range(6))
def test_rolling_restarts_under_load(seed: int) -> None:
    async def scenario() -> None:
        mesh, keys = Mesh(seed, "abc"), []
        await mesh.form()
        for round_ in range(6):
            name = mesh.names[round_ % 3]
            for index in range(10):
                keys.append(f"m{round_}-{index}")
                mesh.ask(keys[-1])
            await asyncio.sleep(dice(seed, str(round_)).uniform(0, 0.1))
            mesh.restart(name)
            assert await mesh.formed(), mesh.story()
        aside = await mesh.set_aside(keys)  # half a second, six kills
        assert len(aside) <= 1, mesh.story()
        await mesh.check_once([key for key in keys if key not in aside])

    run(scenario)


@pytest.mark.parametrize("order", list(permutations("abc")), ids="".join)
def test_after_a_cold_start_nobody_acts_before_all_of_the_last_view_are_back(order: tuple[str, ...]) -> None:
    async def scenario() -> None:
        mesh = Mesh(3, "abc", Plan(work_s=(0.5, 0.5)))
        await mesh.form()
        mesh.ask("m")
        await asyncio.sleep(0.2)
        for name in mesh.names:
            mesh.kill(name)
        before = len(mesh.started)
        for name in order[:2]:
            mesh.start(name)
        await asyncio.sleep(LAN.start_alone_after_s / 2)
        assert mesh.started[before:] == [], mesh.story()
        mesh.start(order[2])
        await mesh.check_once(["m"])
        assert all("alone" not in text for engine in mesh.live() for _, text in engine.notes), mesh.story()

    run(scenario)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("gap_s", [0.0, 0.001, 0.01, 0.3])
def test_after_a_cold_start_every_open_task_is_taken_up_once(gap_s: float, seed: int) -> None:
    async def scenario() -> None:
        mesh, keys = Mesh(seed, "abc", Plan(work_s=(0.5, 1.0))), [f"m{index}" for index in range(10)]
        await mesh.form()
        for key in keys:
            mesh.ask(key)
        await asyncio.sleep(0.2)
        for name in mesh.names:
            mesh.kill(name)
        before = len(mesh.started)
        for name in mesh.dice("order").sample(mesh.names, 3):
            mesh.start(name)
            await asyncio.sleep(gap_s)
        await mesh.check_once(keys)
        again = [start.task for start in mesh.started[before:]]
        assert len(set(again)) == len(again), mesh.story()

    run(scenario)


async def _older_journal(seed: int) -> Mesh:
    """a dies, b answers, b dies, a restarts on what it knew before; then b comes back."""
    mesh = Mesh(seed, "ab")
    await mesh.form()
    mesh.kill("a")
    key = "while-a-was-away"
    mesh.ask(key, "b")
    await mesh.check_once([key])
    mesh.kill("b")
    mesh.start("a")
    mesh.ask(key, "a")
    await asyncio.sleep(LAN.start_alone_after_s / 2)
    mesh.start("b")
    return mesh


@pytest.mark.parametrize("seed", range(10))
def test_a_restart_on_an_older_journal_does_nothing_again(seed: int) -> None:
    async def scenario() -> None:
        mesh = await _older_journal(seed)
        await mesh.check_once(["while-a-was-away"])
        assert len(mesh.started) == 1, mesh.story()

    run(scenario)


@pytest.mark.parametrize("deaths", list(permutations("abc")), ids="".join)
def test_cold_starts_in_every_order_on_journals_of_different_age_do_nothing_again(deaths: tuple[str, ...]) -> None:
    """They die one after the other; what one did not hear of, the next ones do. Each message comes again to each."""

    async def scenario(starts: tuple[str, ...]) -> None:
        mesh = Mesh(7, "abc", Plan(work_s=(0.0, 0.02)))
        await mesh.form()
        keys = [f"after-{index}-deaths" for index in range(3)]
        for key, victim in zip(keys, deaths, strict=True):
            mesh.ask(key)
            assert await mesh.quiet(), mesh.story()
            mesh.kill(victim)
        for name in starts:
            mesh.start(name)
            for key in keys:
                mesh.ask(key, name)
            await asyncio.sleep(2.5)
        await mesh.check_once(keys)
        assert set(mesh.runs().values()) == {1}, mesh.story()

    for starts in permutations("abc"):
        run(scenario, starts)


def test_alone_for_long_it_acts_as_after_a_partition_and_says_so() -> None:
    async def scenario() -> None:
        mesh = Mesh(4, "ab")
        await mesh.form()
        mesh.kill("a")
        mesh.kill("b")
        engine = mesh.start("a")
        mesh.ask("m", "a")
        await asyncio.sleep(LAN.start_alone_after_s - 1)
        assert mesh.started == []
        await mesh.check_once(["m"])
        assert any("after a partition" in text for _, text in engine.notes)

    run(scenario)


def test_an_empty_journal_waits_for_a_mesh() -> None:
    async def scenario() -> None:
        mesh = Mesh(5, "ab")
        mesh.start("a")
        mesh.ask("m", "a")
        await asyncio.sleep(10 * LAN.start_alone_after_s)
        assert mesh.started == []
        assert mesh.acknowledged == []
        mesh.start("b", new=True)
        await mesh.check_once(["m"])

    run(scenario)


def test_what_one_acknowledged_survives_its_disk() -> None:
    async def scenario() -> None:
        mesh, keys = Mesh(6, "abc", Plan(work_s=(0.3, 0.3))), [f"m{index}" for index in range(30)]
        await mesh.form()
        for key in keys:
            mesh.ask(key, "b")
        assert await mesh.until(lambda: len(mesh.acknowledged) >= 20, 5)
        mesh.kill("b")
        mesh.nodes["b"].disk = Disk(mesh.dice("another disk"))
        assert await mesh.quiet(), mesh.story()
        assert not mesh.lost(), mesh.story()
        assert not mesh.twice(), mesh.story()

    run(scenario)
