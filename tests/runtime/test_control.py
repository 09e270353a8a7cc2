"""Orders as people meet them: HTTP, status, explain, what makes no sense."""

from typing import Any

import pytest

from actonce.agent import Agent
from actonce.context import Context
from actonce.standing import Standing, Target, name_of
from actonce_crdt import ControlState, Switch

from .lab import Lab, run
from .test_http_api import JSON, Api


def make_agent() -> Agent:
    agent = Agent("kevin")

    @agent.task("reply")
    async def reply(ctx: Context, payload: Any) -> Any:
        return payload

    return agent


def switch(key: str, mode: str, author: str = "a") -> Switch:
    return Switch(key, 0, author, 1, mode, (), "")


@pytest.mark.parametrize(
    ("key", "mode", "begins", "takes_in", "out"),
    [
        ("agent", "drain", True, False, False),
        ("agent", "pause", False, True, False),
        ("agent", "halt", False, True, False),
        ("kind:reply", "stop", False, True, False),
        ("kind:other", "halt", True, True, False),
        ("replica:a", "drain", False, True, True),
        ("replica:b", "halt", True, True, False),
    ],
)
def test_what_an_order_forbids(key: str, mode: str, begins: bool, takes_in: bool, out: bool) -> None:
    standing = Standing("a")
    assert standing.refresh({key: ControlState((switch(key, mode),))})
    assert not standing.refresh({key: ControlState((switch(key, mode),))})
    assert (standing.begins("reply"), standing.takes_in("reply"), standing.stands_by) == (begins, takes_in, out)
    why = standing.why("reply", "a")
    assert (why is None) == begins
    assert why is None or why.startswith(name_of(key))


def test_orders_add_up_also_those_of_two_sides() -> None:
    standing = Standing("a")
    both = ControlState((switch("agent", "drain", "a"), switch("agent", "pause", "b")))
    standing.refresh({"agent": both, "kind:reply": ControlState((switch("kind:reply", "stop"),))})
    assert (standing.begins("other"), standing.takes_in("other")) == (False, False)
    standing.refresh({"kind:reply": ControlState((switch("kind:reply", "stop"),))})
    assert (standing.begins("other"), standing.begins("reply")) == (True, False)


def test_order_explain_resume_over_http() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "ab")
        await lab.form()
        api = Api(lab)
        body = {"mode": "pause", "kind": "reply", "reason": "wrong prompt"}
        status, answer = await api.ask("POST", "/control", body, headers=JSON)
        assert (status, answer["target"], answer["confirmed"], answer["missing"]) == (200, "kind:reply", [], {})
        lab.put("reply", 0.0)
        await lab.sure(lambda: "reply/k" in lab.engine("b").claims.open)
        _, story = await api.ask("GET", "/explain/reply/k")
        assert story["state"] == "held"
        assert story["held"].startswith("does not begin: kind reply is paused by a since 20")
        assert story["held"].endswith("(wrong prompt)")
        _, rows = await api.ask("GET", "/tasks", query={"state": "held"})
        assert rows[0]["waits"] == story["held"]
        _, facts = await api.ask("GET", "/status")
        assert [order["target"] for order in facts["orders"]] == ["kind:reply"]
        assert any(fact.startswith("kind reply is paused by a") for fact in facts["degraded"])
        assert (await api.ask("GET", "/control"))[1] == facts["orders"]
        await api.ask("POST", "/control", {"mode": "drain"}, headers=JSON)
        status, answer = await api.submit({"kind": "reply", "payload": 0.0, "key": "new"})
        assert (status, "takes no new tasks" in answer["error"]) == (503, True)
        status, answer = await api.ask("POST", "/control", {"mode": "run"}, headers=JSON)
        assert [sentence.split(" by ")[0] for sentence in answer["also"]] == ["kind reply is paused"]
        await api.ask("POST", "/control", {"mode": "run", "kind": "reply"}, headers=JSON)
        await lab.sure(lambda: lab.state("reply/k").done is not None)

    run(scenario)


def test_who_has_not_confirmed_in_time_is_named_over_http() -> None:
    async def scenario() -> None:
        lab = Lab(make_agent(), "abc")
        await lab.form()
        lab.pause("c")
        status, answer = await Api(lab).ask("POST", "/control", {"mode": "halt", "timeout_s": 0.4}, headers=JSON)
        assert status == 504
        assert answer["confirmed"] == ["a", "b"]
        assert answer["missing"] == {"c": "has not answered that it has read the order"}
        assert "not confirmed within 0.4 s by c (has not answered" in answer["error"]
        lab.resume("c")
        await lab.sure(lambda: lab.engine("c").gate.halted)
        await lab.sure(lambda: lab.engine("a").control.progress(*asked(lab)).missing == ())

    run(scenario)


def asked(lab: Lab) -> tuple[Switch, Target]:
    return lab.engine("a").standing.all[0], Target()


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        ([], 400, "the body is"),
        ({"mode": "pause", "kid": "reply"}, 400, "the body is"),
        ({"mode": "pause", "kind": 5}, 400, "the body is"),
        ({"mode": "halt", "timeout_s": 1e9}, 400, "timeout_s"),
        ({"mode": "sleep"}, 400, "there is no order 'sleep'"),
        ({"mode": "pause", "kind": "replay"}, 404, "no replica has a handler for 'replay'; there are: reply"),
        ({"mode": "pause", "replica": "z"}, 404, "no replica 'z' is known; there are: a"),
        ({"mode": "pause", "kind": "reply", "replica": "a"}, 400, "not for both"),
        ({"mode": "pause", "reason": "line\nbreak"}, 400, "printable"),
    ],
)
def test_what_is_refused_is_explained(body: Any, status: int, words: str) -> None:
    async def scenario() -> None:
        lab = Lab(make_agent())
        await lab.form()
        got, answer = await Api(lab).ask("POST", "/control", body, headers=JSON)
        assert (got, words in answer["error"]) == (status, True), answer
        assert (await Api(lab).ask("POST", "/control", {"mode": "pause"}))[0] == 415
        assert lab.engine("a").ledger.state.controls == {}

    run(scenario)
