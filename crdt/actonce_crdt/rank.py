"""Who is preferred for a task: rendezvous (highest random weight) hashing.

Thaler and Ravishankar: "Using name-based mappings to increase hit rates", 1998. Each replica computes the same
answer alone, the load spreads evenly, and when a replica leaves only its own tasks move.
"""

from hashlib import blake2b

_KEY = b"actonce rank 1"  # changing it reorders every task: a new protocol version


def rank(task_id: str, replica: str) -> int:
    """Weight of `replica` for `task_id`: a keyed BLAKE2b-64, uniform in [0, 2**64)."""
    # A replica name holds no NUL, so that the pair is read in one way only.
    pair = b"%b\0%b" % (replica.encode(), task_id.encode(errors="surrogatepass"))
    return int.from_bytes(blake2b(pair, digest_size=8, key=_KEY).digest(), "big")


def order(task_id: str, replica: str) -> tuple[int, str]:
    """Total order of replicas for a task: the rank, ties by name. The largest owns the task."""
    return rank(task_id, replica), replica
