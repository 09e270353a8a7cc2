"""Replicas that join, or come back, while others are cut off: nobody acts beside a member that it never met."""

import asyncio

import pytest

from .mesh import Mesh, Plan, run

CUT_S = 1.3
"""Shorter than suspicion + grace: nothing may double."""


async def joining_on_one_side(seed: int) -> Mesh:
    """`e` joins on the side of `a` while `b`, which has never heard of `e`, is cut off from both and goes on."""
    mesh = Mesh(seed, "abe", Plan(work_s=(0.3, 0.5)))
    await mesh.form("ab")
    await asyncio.sleep(1.0)
    rng = mesh.dice("join")
    for name in "ae":
        mesh.cut(name, "b")
        mesh.cut("b", name)
    await asyncio.sleep(0.05)
    mesh.start("e")
    await asyncio.sleep(rng.uniform(0.9, 1.2))
    keys = [f"m{index}" for index in range(30)]
    for key in keys:
        mesh.ask(key, *mesh.names)
    await asyncio.sleep(max(0.0, CUT_S - 1.1))
    for name in "ae":
        mesh.uncut(name, "b")
        mesh.uncut("b", name)
    await mesh.check_once(keys)
    return mesh


@pytest.mark.parametrize("seed", range(6))
def test_a_joiner_does_not_act_beside_a_member_that_it_never_met(seed: int) -> None:
    run(joining_on_one_side, seed)


async def introduced_by_one_that_dies(seed: int) -> Mesh:
    """`e` knows `b` from `a` only, and `a` dies before `b` can be reached: then `b` may act alone, and `e` waits."""
    mesh = Mesh(seed, "abe", Plan(work_s=(0.0, 0.2)))
    await mesh.form("ab")
    await asyncio.sleep(1.0)
    mesh.cut("e", "b")
    mesh.cut("b", "e")
    mesh.start("e")
    assert await mesh.until(lambda: mesh.engine("e").membership.settled is not None, 5.0)
    await asyncio.sleep(mesh.dice("wait").uniform(0.0, 0.1))
    mesh.kill("a")
    keys = [f"m{index}" for index in range(30)]
    for key in keys:
        mesh.ask(key, "b", "e")
        await asyncio.sleep(0.2)
    mesh.uncut("e", "b")
    mesh.uncut("b", "e")
    mesh.start("a")
    await mesh.check_once(keys)
    return mesh


@pytest.mark.parametrize("seed", range(6))
def test_a_joiner_waits_for_a_member_that_it_knows_from_a_dead_one(seed: int) -> None:
    run(introduced_by_one_that_dies, seed)
