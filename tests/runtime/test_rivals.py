"""The benchmarks' rivals: each has its interface; records become figures; a fake one goes all the way."""

import ast
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from benchmarks.rivals import measure, record, stage
from benchmarks.rivals.catalog import OURS, RIVALS, Rival
from benchmarks.rivals.record import BEGAN, ENDED, Reader, Record
from benchmarks.rivals.servers import Failed, Missing, Redis
from benchmarks.rivals.stage import Stage, check_packages

ROOT = Path(__file__).resolve().parents[2]
FAKE = replace(OURS, key="fake", name="a fake", module="tests.runtime.fake_rival", leader=True)


def functions(module: str) -> set[str]:
    tree = ast.parse((ROOT / module.replace(".", "/")).with_suffix(".py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.key)
def test_a_rival_has_what_it_is_run_by(rival: Rival) -> None:
    found = functions(rival.module)
    if rival.command is not None:
        assert "producer" in found
        assert any(rival.module in word for word in rival.command(1))
    assert ("setup" in found) == rival.setup
    assert rival.settings
    assert rival.documented
    assert rival.fastest


def test_keys_are_unique_and_ours_is_the_first() -> None:
    assert len({rival.key for rival in RIVALS}) == len(RIVALS)
    assert RIVALS[0].key == "actonce"


def test_what_is_not_installed_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Redis, "program", "no-such-server")
    with pytest.raises(Missing, match="no-such-server is not installed: apt-get install redis-server"):
        Redis.find()
    with pytest.raises(Missing, match=r"no-such-package is not installed: pip install 'actonce\[rivals\]'"):
        check_packages(replace(FAKE, packages=("no-such-package",), server=Redis))


def test_records_are_followed_and_become_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVAL_FOLDER", str(tmp_path))
    monkeypatch.setattr(record, "_files", {})
    reader = Reader(tmp_path)
    assert len(record.payload(7)) == len(record.payload(10**11, 12.5)) == record.PAYLOAD_CHARS
    record.work(record.payload(7))
    assert [(one.what, one.number) for one in reader.read()] == [(BEGAN, 7), (ENDED, 7)]
    record.work(record.payload(8))
    assert reader.count() == len(reader.read()) == 4

    def made(what: int, number: int, at_s: float) -> Record:
        return Record(what, 0, 1, number, int(at_s * 1e9))

    records = [
        *(made(BEGAN, 1, 0.5), made(ENDED, 1, 0.6)),
        *(made(BEGAN, 2, 1.25), made(ENDED, 2, 1.5), made(BEGAN, 3, 2.0), made(BEGAN, 3, 2.5), made(ENDED, 3, 3.0)),
    ]
    assert measure.throughput(records, int(1e9), 2) == {"tasks_per_s": 1.0, "ran_again": 1.0}
    assert measure.start_waits(records, {2: int(1e9), 3: int(1.5e9)}) == [0.25, 0.5]


def test_a_fake_one_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_RIVAL", "twice")
    monkeypatch.setattr(stage, "WORKERS", 1)
    found = anyio.run(lambda: measure.measure_speed(FAKE, runs=1, seconds=0.05, tasks=5, rate=50.0))
    assert found["tasks_per_s"] > 1
    assert found["ran_again"] > 0, "each task runs twice, and nobody may miss that"
    assert 0 < found["start_p50_ms"] <= found["start_p99_ms"]
    taken = anyio.run(lambda: measure.measure_takeover(FAKE, fast=False, limit_s=0.2))
    assert taken["takeover_s"] is None


def test_one_that_does_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAKE_RIVAL", "never")
    monkeypatch.setattr(stage, "WORKERS", 1)
    monkeypatch.setattr(stage, "WARM_LIMIT_S", 0.3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # its logs are kept

    async def start() -> None:
        async with Stage(FAKE):
            pass

    with pytest.raises(Failed, match="a fake does not get going"):
        anyio.run(start)
