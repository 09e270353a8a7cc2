"""Three real replica processes at three times the limit of an HTTP server that answers 429: it answers none."""

import asyncio

from benchmarks.quota import measure


def test_no_answer_429() -> None:
    found = asyncio.run(measure(20, 1.0, 6.0, 3.0, limited=True))
    assert found["refused_429"] == 0, found
    assert found["taken"] >= 60, found  # a loaded machine makes calls slow; see the benchmark for the figure
    assert min(found["by_replica"]) >= 10, found


def test_without_the_quota_the_server_refuses() -> None:
    found = asyncio.run(measure(20, 1.0, 3.0, 3.0, limited=False))
    assert found["refused_429"] >= 20, found
