"""`python -m benchmarks.entries` and `benchmarks.join`, small: they measure something, and say so."""

import json
import sys

import pytest
from benchmarks import entries, join


def test_what_an_entry_costs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["entries", "--entries", "50", "--runs", "1", "--json"])
    entries.main()
    found = json.loads(capsys.readouterr().out)
    assert found["entries"] == 50
    assert {f"{step} {kind}" for step in ("decode", "fold") for kind in entries.KINDS} < found["us_an_entry"].keys()
    assert min(found["us_an_entry"].values()) >= 0
    assert found["times_raw"].keys() == {"integrate", "decode", "fold", "all"}


def test_a_fresh_replica_joins(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["join", "--tasks", "50", "--runs", "1", "--json"])
    join.main()
    found = json.loads(capsys.readouterr().out)
    assert 0 < found["limit_s"] < found["holds_s"] <= found["acts_s"]
    assert found["missing_bytes"] > 50 * 50
    assert found["sent_bytes"] >= found["missing_bytes"]


def test_a_replica_that_does_not_come_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "_acts", lambda engine: engine.me.name != join.FRESH)
    monkeypatch.setattr(join, "LIMIT_S", 2.0)
    with pytest.raises(join.NotJoined, match="the third one may not act"):
        join.measure(10, 1)
