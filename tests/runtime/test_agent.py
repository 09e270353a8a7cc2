"""Declarations: what is accepted, and what is refused in words a user can act on."""

from typing import cast

import pytest

from actonce.agent import Agent, OnDoubt, check_name, parse_duration_s
from actonce.errors import ConfigError
from actonce.sinks import CallableSink


async def reply(ctx: object, payload: object) -> None: ...


def plain(ctx: object, payload: object) -> None: ...


def test_a_task_remembers_how_to_run_it() -> None:
    agent = Agent("kevin")
    assert agent.task("reply", retries=1, timeout="2m", on_doubt="skip")(reply) is reply
    spec = agent.tasks["reply"]
    assert (spec.kind, spec.handler, spec.retries, spec.timeout_s, spec.on_doubt) == ("reply", reply, 1, 120.0, "skip")
    assert spec.is_async


def test_defaults() -> None:
    agent = Agent("kevin")
    agent.task("plain")(plain)
    spec = agent.tasks["plain"]
    assert (spec.retries, spec.timeout_s, spec.on_doubt, spec.is_async) == (3, 600.0, "resend", False)
    agent.task("endless", timeout=None)(plain)
    assert agent.tasks["endless"].timeout_s is None


def test_two_handlers_for_one_kind() -> None:
    agent = Agent("kevin")
    agent.task("reply")(reply)
    with pytest.raises(ConfigError, match=r"two handlers for 'reply': reply is already registered"):
        agent.task("reply")


def test_options_that_mean_nothing() -> None:
    agent = Agent("kevin")
    with pytest.raises(ConfigError, match="retries=-1"):
        agent.task("reply", retries=-1)
    with pytest.raises(ConfigError, match="'soon' is not a duration"):
        agent.task("reply", timeout="soon")
    with pytest.raises(ConfigError, match="'resend', 'skip' or 'ask'"):
        agent.task("reply", on_doubt=cast(OnDoubt, "guess"))
    assert agent.tasks == {}


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a/b", "a" * 65, "ä", None, 1])
def test_names_have_one_form(name: object) -> None:
    with pytest.raises(ConfigError, match="use 1 to 64 of a-z"):
        check_name("a replica", name)


def test_names_of_all_things_are_checked() -> None:
    agent = Agent("kevin")
    with pytest.raises(ConfigError, match="a kind of task"):
        agent.task("No")
    with pytest.raises(ConfigError, match="a sink"):
        agent.sink("no no", CallableSink(plain))
    with pytest.raises(ConfigError, match="an agent"):
        Agent("No")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30), (" 2 m ", 120), ("1.5h", 5400), ("1d", 86400), (3, 3), (0.5, 0.5)],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "s", "-1s", "0s", "1 year", "1s2", 0, -1, float("inf"), float("nan")])
def test_no_durations(text: str | float) -> None:
    with pytest.raises(ConfigError, match="is not a duration"):
        parse_duration_s(text)
