"""The same history gives the same bytes in every process, whatever the seed of Python's string hashes."""

import os
import subprocess
import sys
from pathlib import Path

import actonce_crdt

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import hashlib
from actonce_crdt import Claim, Done, Intent, State, Task, encode, pack_value
from tests.crdt.histories import Mesh

mesh = Mesh(7)
mesh.run(200)
seen = hashlib.blake2b(digest_size=16)
for journal, update in mesh.corpus:
    seen.update(update)
for node in mesh.nodes:
    for update in node.journal:
        seen.update(update)
    seen.update(node.document.encoded_state_vector() + node.document.digest)
    seen.update(repr(list(node.document.entries())).encode())
records = [
    Task("t", 1, "a", "reply", pack_value({"x": 1, "b": [2.5, None], "a": "z"})),
    Claim("t", 2, "b", 1, 1),
    Intent("t/1", 2, "b", "t", 1, "room", b"x"),
    Intent("t/0", 2, "b", "t", 1, "room", b"x"),
    Done("t", 3, "b", 1, True, b""),
]
state = State.fold(((1, clock), record) for clock, record in enumerate(records))
seen.update(b"".join(map(encode, state.history("t"))) + state.canonical() + repr(state.effects_of("t")).encode())
print(seen.hexdigest())
"""


def run(hash_seed: str) -> str:
    crdt = Path(actonce_crdt.__file__).resolve().parents[1]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join((str(crdt), str(ROOT))),
        "PYTHONHASHSEED": hash_seed,
    }
    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        timeout=60,
        check=True,
    ).stdout


def test_bytes_do_not_depend_on_the_process() -> None:
    first, *others = [run(seed) for seed in ("0", "1", "2", "random")]
    assert len(first.strip()) == 32
    assert others == [first] * 3
