"""The HTTP side of a replica: pages, submissions, who may ask."""

import json
from typing import Any

import pytest

from actonce.agent import Agent
from actonce.context import Context
from actonce.http_api import HttpApi, http_token
from actonce.settings import PAYLOAD_BYTES_MAX
from actonce_transports import HttpRequest

from .lab import Lab, run

SECRET = b"a secret of the mesh"
JSON = {"content-type": "application/json"}
LOCAL = {"host": "127.0.0.1:7420"}


class Api:
    """Asks a replica as a program on its own host does."""

    def __init__(self, lab: Lab, secret: bytes | None = None) -> None:
        self.lab, self.it = lab, HttpApi(lab.engine("a"), secret)

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = b"",
        *,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        loopback: bool = True,
    ) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = HttpRequest(method, path, query or {}, {**LOCAL, **(headers or {})}, data, loopback)
        response = await self.it(request)
        return response.status, json.loads(response.body)

    async def submit(self, body: Any, **headers: str) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.ask("POST", "/submit", body, headers={**JSON, **named})


def make_agent() -> Agent:
    agent = Agent("kevin")

    @agent.task("echo")
    async def echo(ctx: Context, payload: Any) -> Any:
        return payload

    @agent.task("fails", retries=0)
    async def fails(ctx: Context, payload: Any) -> Any:
        raise ValueError("no")

    return agent


async def api_of(names: str = "a", secret: bytes | None = None) -> Api:
    lab = Lab(make_agent(), names)
    await lab.form()
    return Api(lab, secret)


def test_submit_and_fetch_the_result() -> None:
    async def scenario() -> None:
        api = await api_of()
        body = {"kind": "echo", "payload": {"text": "hi"}, "key": "message 1/ä"}
        assert await api.submit(body) == (202, {"task": "echo/message 1/ä", "new": True})
        assert await api.submit(body) == (200, {"task": "echo/message 1/ä", "new": False})
        status, answer = await api.ask("GET", "/result/echo/message 1/ä", query={"wait": "5"})
        assert (status, answer) == (200, {"task": "echo/message 1/ä", "ok": True, "result": {"text": "hi"}})

    run(scenario)


def test_the_key_may_be_a_header_or_absent() -> None:
    async def scenario() -> None:
        api = await api_of()
        status, answer = await api.submit({"kind": "echo"}, idempotency_key='"x"')
        assert (status, answer["task"]) == (202, "echo/x")
        first, second = [(await api.submit({"kind": "echo"}))[1]["task"] for _ in range(2)]
        assert first != second

    run(scenario)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "the body is not JSON"),
        (b"\xff", 400, "the body is not JSON"),
        ([], 400, "the body is"),
        ({}, 400, "the body is"),
        ({"kind": "echo", "key": 7}, 400, "the body is"),
        ({"kind": "echo", "key": ""}, 400, "a key is"),
        ({"kind": "other"}, 404, "it has: echo, fails"),
        ({"kind": "echo", "priority": 2000}, 400, "use an integer from -1000 to 1000"),
        ({"kind": "echo", "delay": "soon"}, 400, "write 250ms"),
        ({"kind": "echo", "not_before": "soon"}, 400, "write a time such as"),
        ({"kind": "echo", "not_before": "2026-01-01"}, 400, "a time needs a time zone"),
        ({"kind": "echo", "not_before": True}, 400, "use unix seconds"),
        ({"kind": "echo", "after": "x"}, 400, "a list of at most 64 task ids"),
        ({"kind": "echo", "payload": 1 << 70}, 400, "cannot be stored"),
        (b'{"kind": "echo", "payload": NaN}', 400, "cannot be stored"),
        (b'{"kind": "echo", "payload": "\\ud800"}', 400, "cannot be stored"),
        ({"kind": "echo", "payload": "x" * PAYLOAD_BYTES_MAX}, 400, "the limit is 131,072 bytes"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_refused_is_explained(body: Any, status: int, words: str) -> None:
    async def scenario() -> None:
        api = await api_of()
        found, answer = await api.submit(body)
        assert found == status
        assert words in answer["error"]
        assert not api.lab.engine("a").ledger.state.tasks

    run(scenario)


def test_orders() -> None:
    async def scenario() -> None:
        api = await api_of("ab")
        later = "2099-01-01T00:00:00+01:00"
        await api.submit({"kind": "echo", "key": "k", "not_before": later, "priority": 3})
        rows = (await api.ask("GET", "/tasks", query={"state": "held"}))[1]
        assert [row["task"] for row in rows] == ["echo/k"]
        assert (await api.ask("GET", "/explain/echo/k"))[1]["held"] == "waits until 2098-12-31 23:00:00.000Z"
        assert await api.ask("POST", "/retry/echo/k", {}, headers=JSON) == (
            409,
            {"error": "task 'echo/k' is not over: this is for what failed"},
        )
        cancelled = (200, {"task": "echo/k", "state": "cancelled"})
        assert await api.ask("POST", "/cancel/echo/k", {}, headers=JSON) == cancelled
        await api.lab.sure(lambda: not api.lab.engine("a").claims.open)
        assert await api.ask("POST", "/cancel/echo/k", {}, headers=JSON) == cancelled, "it is that already"
        dead = (await api.ask("GET", "/dead"))[1]
        assert [(row["task"], row["state"], row["error"]) for row in dead] == [
            ("echo/k", "cancelled", "it was cancelled")
        ]
        assert (await api.ask("POST", "/drop/echo/k", {}, headers=JSON))[1]["state"] == "dropped"
        assert (await api.ask("GET", "/tasks", query={"state": "dead"}))[1] == []
        assert (await api.ask("POST", "/cancel/echo/none", {}, headers=JSON))[0] == 404
        assert (await api.ask("POST", "/cancel/echo/k", b"", headers={"content-type": "text/plain"}))[0] == 415

    run(scenario)


def test_a_key_with_another_payload() -> None:
    async def scenario() -> None:
        api = await api_of()
        await api.submit({"kind": "echo", "payload": 1, "key": "k"})
        status, answer = await api.submit({"kind": "echo", "payload": 2, "key": "k"})
        assert status == 422
        assert "used before" in answer["error"]

    run(scenario)


def test_a_form_of_a_browser_is_refused() -> None:
    async def scenario() -> None:
        api = await api_of()
        status, _ = await api.ask("POST", "/submit", {"kind": "echo"}, headers={"content-type": "text/plain"})
        assert status == 415

    run(scenario)


def test_a_submission_that_does_not_become_safe() -> None:
    async def scenario() -> None:
        api = await api_of("ab")
        api.lab.kill("a")
        api.lab.kill("b")
        api.lab.start("a")
        status, answer = await Api(api.lab).submit({"kind": "echo", "key": "k"})
        assert status == 503
        assert "same key" in answer["error"]

    run(scenario)


def test_results_of_failures_and_of_what_is_not_done() -> None:
    async def scenario() -> None:
        api = await api_of()
        await api.submit({"kind": "fails", "key": "k"})
        status, answer = await api.ask("GET", "/result/fails/k", query={"wait": "1e9"})
        assert (status, answer["ok"], answer["result"]) == (200, False, "ValueError: no")
        assert (await api.ask("GET", "/result/echo/unknown"))[0] == 404
        assert (await api.ask("GET", "/result/echo/unknown", query={"wait": "soon"}))[0] == 400
        assert not api.it._engine.inbox._waiting, "who went away is forgotten"

    run(scenario)


def test_the_pages() -> None:
    async def scenario() -> None:
        api = await api_of("ab")
        await api.submit({"kind": "echo", "key": "k", "payload": 1})
        await api.ask("GET", "/result/echo/k", query={"wait": "5"})
        status, facts = await api.ask("GET", "/status")
        assert (status, facts["replica"], facts["tasks"]["done"]) == (200, "a", 1)
        for limit, count in [("0", 0), ("1", 1), ("-1", 1), ("many", 1)]:
            status, rows = await api.ask("GET", "/tasks", query={"limit": limit, "state": "done"})
            assert (status, len(rows)) == (200, count), limit
        assert await api.ask("GET", "/posts") == (200, [])
        assert await api.ask("GET", "/schedules") == (200, [])
        status, story = await api.ask("GET", "/explain/echo/k")
        assert (status, story["state"]) == (200, "done")
        assert (await api.ask("GET", "/explain/echo/x"))[0] == 404
        status, answer = await api.ask("GET", "/nothing")
        assert status == 404
        assert "POST /submit" in answer["error"]
        assert (await api.ask("GET", "/submit"))[0] == 404

    run(scenario)


def test_health_and_readiness() -> None:
    async def scenario() -> None:
        api = await api_of("ab")
        assert await api.ask("GET", "/healthz") == (200, {"ok": True})
        assert (await api.ask("GET", "/readyz"))[0] == 200
        api.lab.engine("a").membership.settled = None
        status, answer = await api.ask("GET", "/readyz")
        assert (status, answer["ready"]) == (503, False)
        assert answer["degraded"]
        api.lab.engine("a").gate.shut = True
        assert await api.ask("GET", "/healthz") == (200, {"ok": False})

    run(scenario)


def test_with_a_secret_only_who_knows_it_may_ask() -> None:
    async def scenario() -> None:
        api = await api_of(secret=SECRET)
        right = {"authorization": f"Bearer {http_token(SECRET)}"}
        assert (await api.ask("GET", "/status", headers=right, loopback=False))[0] == 200
        for wrong in ("", "Bearer ", f"Bearer {http_token(b'x')}", http_token(SECRET), "Bearer \u00e4"):
            status, answer = await api.ask("GET", "/status", headers={"authorization": wrong})
            assert status == 401
            assert SECRET.decode() not in answer["error"]
        assert (await api.ask("POST", "/submit", {"kind": "echo"}, headers=JSON))[0] == 401
        assert (await api.ask("GET", "/healthz", loopback=False))[0] == 200

    run(scenario)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7420", "127.0.0.1.evil.example:7420", ""])
def test_without_a_secret_a_page_of_a_browser_may_not(host: str) -> None:
    async def scenario() -> None:
        api = await api_of()
        assert (await api.ask("GET", "/status", headers={"host": host}))[0] == 403
        assert (await api.ask("GET", "/status", loopback=False))[0] == 403

    run(scenario)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:1", "localhost:7420", "[::1]:7420"])
def test_without_a_secret_programs_on_this_host_may(host: str) -> None:
    async def scenario() -> None:
        api = await api_of()
        assert (await api.ask("GET", "/status", headers={"host": host}))[0] == 200

    run(scenario)
