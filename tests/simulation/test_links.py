"""Links that break and come back while replicas die: everything is answered, once."""

import asyncio

import pytest

from actonce_transports import End

from .mesh import Mesh, Plan, run

TASKS = 60


async def breaking(seed: int) -> None:
    mesh, keys, down = Mesh(seed, "abcd", Plan(work_s=(0.0, 0.05))), list[str](), ""
    rng = mesh.dice("links")
    mesh.network.delay_s = (0.0002, 0.05)
    for node in mesh.nodes.values():
        node.disk.sync_s = (0.0002, 0.1)
    await mesh.form()
    for index in range(TASKS):
        keys.append(f"m{index}")
        mesh.ask(keys[-1], *(name for name in mesh.names if name != down))
        await asyncio.sleep(rng.uniform(0, 0.1))
        one, other = rng.sample(mesh.names, 2)
        link = mesh.world(one).transport.links.get(other)
        if link is not None and rng.random() < 0.5:
            link.end(End.LOST)
            link.other.end(End.LOST)
        if not down and rng.random() < 0.15:
            down = rng.choice(mesh.names)
            mesh.world(down).crash_at = mesh.world(down).points + rng.randint(1, 30)
        elif down and mesh.world(down).dead and rng.random() < 0.3:
            mesh.start(down)
            down = ""
    if down:
        mesh.restart(down)
    aside = await mesh.set_aside(keys)
    assert len(aside) <= 3, aside
    await mesh.check_once([key for key in keys if key not in aside])
    assert set(mesh.lost()) <= {f"reply/{key}" for key in aside}, mesh.story()


@pytest.mark.parametrize("seed", range(10))
def test_links_that_break(seed: int) -> None:
    run(breaking, seed)


def test_links_that_end_do_not_multiply_the_attempts_to_reach_another() -> None:
    """One address is gone: it is tried about once a second, however often the link to another ends meanwhile."""

    async def attempts() -> list[int]:
        mesh = Mesh(1, "abc")
        await mesh.form()
        mesh.kill("c")
        transport, tried = mesh.world("a").transport, list[float]()
        attempt = transport._attempt

        def counted(address: str) -> None:
            if address == "c":
                tried.append(mesh.loop.time())
            attempt(address)

        transport._attempt = counted  # type: ignore[method-assign]
        found = []
        for _ in range(2):
            tried.clear()
            await asyncio.sleep(10.0)
            found.append(len(tried))
            for _ in range(20):
                mesh.network.drop("a", "b")
                await asyncio.sleep(0.1)
        return found

    quiet, after = run(attempts)
    assert quiet <= 25
    assert after <= 25
