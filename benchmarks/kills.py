"""kill -9, again and again, under load: three real replicas, each restarted on its own journal.

    python -m benchmarks.kills [--kills 100] [--rate 40] [--seed 1] [--json]

A feed that never deduplicates counts the posts. Prints messages, lost, doubled, refused frames, whether all replicas
ended with equal digests ("digests": 1). How fast a dead replica is taken over: see `actonce demo`. Exit status 1 if
anything was lost or doubled, or the replicas differ.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from actonce.demo.mesh import Mesh
from actonce.demo.messages import Message
from actonce.demo.relay import Relay
from actonce.demo.report import count_posts

PAUSE_S = (0.0, 0.5)
CONVERGE_LIMIT_S = 60.0
MESSAGES_MAX = 100_000


class Endless(list[Message]):
    """Messages until `stop`: a sequence that the relay walks along while it grows."""

    stop = False

    def __iter__(self) -> Any:
        for number in count():
            if self.stop or number >= MESSAGES_MAX:
                return
            self.append(Message(f"m{number}", {"id": f"m{number}", "text": f"message {number}"}))
            yield self[number]


async def measure(kills: int, rate: float, seed: int) -> dict[str, Any]:
    """One run."""
    rng = random.Random(seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="actonce-kills-") as folder:
        async with Mesh(Path(folder), 3, seed) as mesh:
            messages = Endless()
            relay = Relay(mesh.replicas, messages, rate)
            load = asyncio.ensure_future(relay.run())
            refused = 0
            for number in range(kills):
                await asyncio.sleep(rng.uniform(*PAUSE_S))
                victim = rng.choice(mesh.replicas)
                refused += (await victim.get("/status"))["gossip"].get("refused", 0)
                await victim.child.kill()
                await mesh.start(victim)
                await victim.until_it_acts()
                print(f"\rkill {number + 1} of {kills}", end="", file=sys.stderr, flush=True)
            print(file=sys.stderr)
            messages.stop = True
            await load
            digests = await converge(mesh, len(messages))
            found = [await replica.get("/status") for replica in mesh.replicas]
            refused += sum(facts["gossip"].get("refused", 0) for facts in found)
            lost, doubled = count_posts([message.id for message in messages], await mesh.posts())
    return {
        "kills": kills,
        "messages": len(messages),
        "lost": len(lost),
        "doubled": sum(doubled.values()),
        "doubts": found[0]["doubts"],
        "refused": refused,
        "digests": len(digests),
        "seconds": round(time.monotonic() - began, 1),
    }


async def converge(mesh: Mesh, tasks: int) -> set[str]:
    """The digests of all replicas once everything is done; more than one if they never agree."""
    deadline = time.monotonic() + CONVERGE_LIMIT_S
    while True:
        found = [await replica.get("/status") for replica in mesh.replicas]
        digests = {str(facts["document"]["digest"]) for facts in found}
        done = all(facts["tasks"]["done"] + facts["tasks"]["failed"] >= tasks for facts in found)
        if (done and len(digests) == 1) or time.monotonic() > deadline:
            return digests
        await asyncio.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rate", type=float, default=40.0, help="messages a second, each to all replicas")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.kills, options.rate, options.seed))
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:10} {value:>10,}")
    if figures["lost"] or figures["doubled"] or figures["digests"] != 1:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
