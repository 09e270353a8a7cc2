"""What a replica counts, as a collector of Prometheus reads it."""

import re
from typing import Any

from actonce.agent import Agent
from actonce.context import Context
from actonce.http_api import PAGES, HttpApi
from actonce.metrics import CONTENT_TYPE, _escape, metrics
from actonce_transports import HttpRequest

from .lab import Lab, run

SAMPLE = re.compile(r'([a-z_]+)((?:\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})?) (-?[0-9.e+]+)\n')


def make_agent() -> Agent:
    agent = Agent("kevin")
    agent.quota("llm", limit=2, per="1m", tokens=100)

    @agent.task("call")
    async def call(ctx: Context, payload: Any) -> None:
        async with ctx.quota("llm", tokens=40):
            pass

    return agent


def read(text: str) -> dict[str, float]:
    """Every line is a comment on the family that follows, or a sample of it."""
    found: dict[str, float] = {}
    family = ""
    for line in text.splitlines(keepends=True):
        if line.startswith("# HELP "):
            family = line.split()[2]
        elif line.startswith("# TYPE "):
            assert line.split()[2:] in ([family, "gauge"], [family, "counter"])
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            assert match[1] == family
            found[match[1] + match[2]] = float(match[3])
    return found


def test_what_is_counted() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent())
        engine = await lab.form()
        before = read(metrics(engine))
        assert before["actonce_may_act"] == before["actonce_members"] == 1
        assert before['actonce_quota_held{limit="llm/tokens"}'] == 100
        for number in range(3):
            lab.put("call", key=str(number))
        await lab.sure(lambda: engine.quotas.pools["llm"].waiting == 1)
        found = read(metrics(engine))
        assert found['actonce_quota_in_use{limit="llm/requests"}'] == 2
        assert found['actonce_quota_calls_waiting{quota="llm"}'] == 1
        assert found["actonce_tasks_open"] == found["actonce_tasks_running"] == 1
        assert found["actonce_document_entries"] > before["actonce_document_entries"]
        response = await HttpApi(engine)(HttpRequest("GET", "/metrics", {}, {"host": "127.0.0.1:7420"}, b"", True))
        assert (response.status, response.headers["Content-Type"]) == (200, CONTENT_TYPE)
        assert read(response.body.decode()).keys() == found.keys()
        assert "/metrics" in PAGES

    run(scenario)


def test_a_label_holds_anything() -> None:
    assert _escape('a"b\\c\nd') == r"a\"b\\c\nd"
