"""Runs eventful simulations and prints their traces: all frames in the order of sending, and how it ended.

    python -m tests.simulation.trace SEED...
"""

import asyncio
import hashlib
import sys

from actonce.sim.process import Process

from .mesh import Mesh, run

NAMES = "abcd"


async def record(seed: int) -> str:
    mesh, sent = Mesh(seed, NAMES), hashlib.sha256()
    inspect = mesh.network.inspect

    def recorded(process: Process, frame: bytes) -> None:
        sent.update(f"{mesh.loop.time()} {frame!r}".encode())
        inspect(process, frame)

    mesh.network.inspect = recorded
    await mesh.form()
    rng = mesh.dice("trace")
    for index in range(40):
        mesh.ask(f"m{index}", *rng.sample(mesh.names, rng.randint(1, len(NAMES))))
        await asyncio.sleep(rng.uniform(0, 0.1))
        match rng.randint(0, 9):
            case 0:
                mesh.restart(rng.choice(mesh.names))
            case 1:
                mesh.network.cut({"a"}, set(NAMES) - {"a"})
            case 2:
                mesh.network.heal()
    mesh.network.heal()
    assert await mesh.quiet(), mesh.story()
    facts: list[object] = [mesh.started, mesh.feed.posts, mesh.acknowledged]
    facts += [(engine.me, engine.ledger.document.digest.hex(), list(engine.notes)) for engine in mesh.live()]
    sent.update(repr(facts).encode())
    return sent.hexdigest()


if __name__ == "__main__":
    sys.stdout.write("\n".join(run(record, int(seed)) for seed in sys.argv[1:]))
