from collections import Counter

from actonce_crdt import order, rank

REPLICAS = ("a", "b", "c", "d")
RANK_OF_A = 1_373_821_721_607_348_061


def owner(task_id: str, replicas: tuple[str, ...]) -> str:
    return max(replicas, key=lambda replica: order(task_id, replica))


def test_ranks_are_fixed_for_ever() -> None:
    # A change of these values makes old and new replicas disagree about owners: it is a change of the protocol.
    assert rank("task-1", "a") == RANK_OF_A
    assert order("task-1", "a") == (RANK_OF_A, "a")


def test_load_is_even() -> None:
    counts = Counter(owner(f"task-{number}", REPLICAS) for number in range(4_000))
    assert all(900 < counts[replica] < 1_100 for replica in REPLICAS)


def test_only_the_tasks_of_the_one_who_left_move() -> None:
    for number in range(1_000):
        before = owner(f"task-{number}", REPLICAS)
        after = owner(f"task-{number}", REPLICAS[:-1])
        assert before in ("d", after)


def test_any_text_has_a_rank() -> None:
    assert 0 <= rank("\ud800\0", "a") < 1 << 64
