"""A saturated owner gives tasks away, and nothing runs twice, whoever dies or sleeps meanwhile."""

from collections import Counter
from dataclasses import replace

import pytest

from actonce.placement import Traits
from actonce.settings import LAN
from actonce.sim.plan import Crash, Mix, Pause
from actonce.sim.run import Run, run_seed

from .mesh import run
from .planted import make_agent, only, scenario

SETTINGS = replace(LAN, slots=2)


@pytest.mark.parametrize("seed", range(3))
def test_others_help_a_saturated_owner(seed: int) -> None:
    """One replica owns 99 % of the tasks and has two slots: six slots work."""

    async def busy() -> None:
        made = scenario(12.0, 60, (0.5, 0.5), settings=SETTINGS, mix=only((1.0, 2.0)))
        course = Run(seed, made, make_agent, ())
        course.cluster.nodes["a"].traits = Traits(weight=100)
        outcome = await course.outcome()
        assert not outcome.violations, outcome.violations[:3]
        ran = Counter(str(event.facts[0]) for event in course.cluster.history.of("begin"))
        assert min(ran["b"], ran["c"]) >= 3, f"nobody helped: {ran}"
        assert outcome.wait_s < 8.0

    run(busy)


@pytest.mark.parametrize("seed", range(1, 9))
def test_nothing_doubles_while_tasks_are_delegated_and_replicas_die_or_sleep(seed: int) -> None:
    mix = only((0.4, 1.5), Mix(down_s=(0.0, 1.0), pause_s=(0.3, 2.4)), **{Crash.__name__: 2, Pause.__name__: 2})
    found = run_seed(seed, scenario(10.0, 250, (0.1, 0.4), settings=SETTINGS, mix=mix, replicas=(3, 4)), make_agent)
    assert not found.violations, found.violations[:3]
