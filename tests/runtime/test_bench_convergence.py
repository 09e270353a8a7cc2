"""`actonce bench convergence`: its shapes and figures, a tiny heal, and heals that go wrong and are found."""

import json
from collections.abc import Callable
from pathlib import Path

import click.testing
import pytest

from actonce.bench import convergence, plot
from actonce.bench.convergence import Setup, run_trial
from actonce.bench.floor import measure_missing
from actonce.bench.healing import rows, summary
from actonce.bench.shapes import SHAPES, make_cut
from actonce.cli.main import commands
from actonce.errors import ConfigError
from actonce.gossip import Gossip
from actonce.sim.cluster import FeedSink
from actonce_crdt import Document, Json

KEYS = {"heal_p50_s", "heal_p99_s", "limit_s", "bytes_per_task", "doubled", "doubled_bound", "lost"}
SHORT = Setup(replicas=2, partition_s=0.6, rate=5.0)


def run(*arguments: str) -> click.testing.Result:
    return click.testing.CliRunner().invoke(commands, ["bench", "convergence", *arguments])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_cuts_between_its_sides_only(shape: str) -> None:
    names = ["r0", "r1", "r2", "r3", "r4"]
    cut = make_cut(shape, names)
    dead = set(cut.pairs)
    assert set().union(*cut.sides) == set(names)
    if shape == "bridge":
        assert {name for pair in dead for name in pair} == set(names[1:])
        assert ("r1", "r3") in dead
        assert ("r1", "r2") not in dead
    else:
        side = {name: number for number, names in enumerate(cut.sides) for name in names}
        wanted = {(a, b) for a in names for b in names if side[a] != side[b]}
        assert dead == ({(a, b) for a, b in wanted if side[a] == 1} if shape == "one-way" else wanted)


def test_what_is_missing_is_counted_on_the_side_that_lacks_most() -> None:
    one, other = Document("a", 1), Document("b", 2)
    one.append([b"common"])
    other.integrate(one.diff({}))
    one.append([b"%d" % number for number in range(50)])
    other.append([b"x"])
    found = measure_missing([one, other])
    assert found.entries == 50
    assert len(one.diff(other.state_vector())) == found.size
    assert 0 < found.apply_s < 1


def test_a_heal_loses_and_doubles_nothing_and_repeats_with_its_seed() -> None:
    one, again = run_trial(7, SHORT), run_trial(7, SHORT)
    assert one.ok
    assert (one.lost, one.doubled, one.doubled_bound) == (0, 0, 0)
    assert (one.network_s, one.heal_bytes, one.missing_entries) == (
        again.network_s,
        again.heal_bytes,
        again.missing_entries,
    )
    assert 0 < one.network_s < 10 * SHORT.trips_s
    assert one.cpu_s > 0
    assert one.facts_per_task < one.bytes_per_task < 10 * one.facts_per_task
    made = summary([one, again])
    assert made.keys() >= KEYS
    assert dict(rows(made))["lost"] == "0"


def lose_what_was_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """No anti-entropy, and what the cut held never arrives."""

    def forget(trial: convergence.Trial, source: str, target: str) -> None:
        network = trial.cluster.network
        network.held.pop((source, target), None)
        network.hosts[source].links[target]._under_way.clear()
        trial.cluster.uncut(source, target)

    monkeypatch.setattr(convergence.Trial, "_release", forget)
    monkeypatch.setattr(Gossip, "ask", lambda gossip, name: None)


def post_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sink that sends each effect twice."""
    publish = FeedSink.publish

    async def twice(sink: FeedSink, body: Json, key: str, fence: int, gate: Callable[[], None]) -> Json:
        await publish(sink, body, key, fence, gate)
        return await publish(sink, body, key, fence, gate)

    monkeypatch.setattr(FeedSink, "publish", twice)


@pytest.mark.parametrize(
    ("plant", "said"), [(lose_what_was_held, "do not agree"), (post_twice, "doubled of 0 allowed")]
)
def test_a_heal_that_goes_wrong_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    monkeypatch.setattr(convergence, "HEAL_S", 2.0)
    done = run("--replicas", "2", "--partition", "600ms", "--load", "5/s", "--seeds", "1", "--json")
    assert done.exit_code == 1, done.output
    assert said in done.stderr
    assert json.loads(done.stdout.splitlines()[-1]).keys() >= KEYS


def test_a_cut_that_outlasts_the_grace_doubles_within_its_bound() -> None:
    found = run_trial(3, Setup(replicas=2, partition_s=4.0, rate=5.0))
    assert found.ok
    assert 0 < found.doubled <= found.doubled_bound


AGENT = """
from actonce import Agent, CallableSink

agent = Agent("careful")
agent.sink("bank", CallableSink(lambda body, key: None))

@agent.task("pay", guard="majority", example={"euros": 5})
async def pay(ctx, order):
    await ctx.post("bank", order)
"""


def test_an_agent_of_the_user_that_needs_a_majority_may_not_double_at_all(tmp_path: Path) -> None:
    (tmp_path / "careful.py").write_text(AGENT)
    options = ("--partition", "4s", "--load", "5/s", "--seeds", "1", "--json")
    done = run("--agent", f"{tmp_path / 'careful.py'}:agent", *options)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["tasks"] > 20
    assert (found["lost"], found["doubled"], found["doubled_bound"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--replicas", "1"), "--replicas 1: numbers from 2 to 100, as 3 or 2,3,10"),
        (("--replicas", "2", "--shape", "bridge"), "2 replicas cannot be cut as 'bridge'"),
        (("--delay", "2s"), "--delay is above 0 and at most 1s"),
        (("--payload", "reply={}"), "--payload is for --agent"),
        (("--plot", "nowhere/x.png"), "there is no folder"),
        (("--plot", "x.bmp"), "a picture ends in .png"),
    ],
)
def test_bad_options_get_a_sentence(
    arguments: tuple[str, ...], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", object())  # whether it is installed or not
    done = run(*arguments)
    assert done.exit_code == 1
    assert sentence in done.stderr


def test_without_matplotlib_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"not installed: pip install 'actonce\[bench\]'"):
        plot.check_plot(Path("x.png"))
