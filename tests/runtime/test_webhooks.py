"""Webhooks: CloudEvents in both modes, plain JSON with a header, who may send, and what is refused with which words."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from click.testing import CliRunner

from actonce.agent import Agent
from actonce.cli.main import commands
from actonce.context import Context
from actonce.errors import ConfigError
from actonce.http_api import http_token
from actonce.settings import KEY_BYTES_MAX, PAYLOAD_BYTES_MAX
from actonce.sources import Webhook
from actonce.webhooks import EventRefused, hook_token, read_event

from .lab import Lab, run
from .test_http_api import JSON, SECRET, Api

STRUCTURED = {"content-type": "application/cloudevents+json; charset=UTF-8"}
EVENT: dict[str, Any] = {"specversion": "1.0", "id": "A-1", "source": "/shop", "type": "order.placed", "data": {"n": 1}}
BINARY = {
    "content-type": "application/json",
    "ce-specversion": "1.0",
    "ce-id": "A-1",
    "ce-source": "/shop",
    "ce-type": "order.placed",
}
EVENTS, PLAIN = Webhook("orders", "order", None), Webhook("issues", "order", "x-delivery")


def make_agent() -> Agent:
    agent = Agent("kevin")
    agent.webhook("orders", kind="order")
    agent.webhook("hub/issues", kind="order", id_header="X-Delivery")

    @agent.task("order")
    async def order(ctx: Context, event: Any) -> Any:
        return event

    return agent


def test_both_modes_of_an_event_are_one_payload_and_one_key() -> None:
    key, structured = read_event(EVENTS, STRUCTURED, json.dumps(EVENT).encode())
    assert key == "/shop|A-1"
    assert structured == EVENT
    again, binary = read_event(EVENTS, BINARY, b'{"n": 1}')
    assert again == key
    assert binary == {**EVENT, "datacontenttype": "application/json"}


def test_attributes_and_data_of_a_binary_event() -> None:
    headers = {**BINARY, "ce-subject": "caf%C3%A9", "ce-time": "2026-11-21T09:00:00Z", "ce-bad_name": "x"}
    _, event = read_event(EVENTS, {**headers, "content-type": "text/plain"}, b"hello")
    assert isinstance(event, dict)
    assert (event["subject"], event["time"], event["data"]) == ("café", "2026-11-21T09:00:00Z", "hello")
    assert "bad_name" not in event
    _, event = read_event(EVENTS, {**headers, "content-type": "image/png"}, b"\x89PNG")
    assert isinstance(event, dict)
    assert base64.b64decode(str(event["data_base64"])) == b"\x89PNG"
    _, event = read_event(EVENTS, {**BINARY, "content-type": ""}, b"")
    assert event == {key: value for key, value in EVENT.items() if key != "data"}


def test_keys_are_bounded_and_never_mixed_up() -> None:
    def key(source: str, id: str) -> str:
        return read_event(EVENTS, STRUCTURED, json.dumps({**EVENT, "source": source, "id": id}).encode())[0]

    assert key("a|b", "c") != key("a", "b|c")
    assert key("a/b", "c") != key("a", "b/c")
    assert len(key("s" * 5000, "1")) < KEY_BYTES_MAX
    assert key("s" * 5000, "1") != key("s" * 5000, "2")


def _without(name: str) -> bytes:
    return json.dumps({key: value for key, value in EVENT.items() if key != name}).encode()


REFUSED: tuple[tuple[dict[str, str], bytes, int, str], ...] = (
    ({}, b"{}", 415, "not a CloudEvent: send Content-Type: application/cloudevents+json"),
    (JSON, json.dumps(EVENT).encode(), 415, "not a CloudEvent"),
    ({"content-type": "application/cloudevents-batch+json"}, b"[]", 415, "send one event a request"),
    ({"content-type": "application/cloudevents+json; charset=latin-1"}, b"{}", 415, "send UTF-8"),
    (STRUCTURED, b"{", 400, "the body is not JSON"),
    (STRUCTURED, b"[" * 100_000, 400, "the body is not JSON"),
    (STRUCTURED, b"[]", 400, "a CloudEvent is a JSON object"),
    (STRUCTURED, _without("id"), 400, "the attribute id"),
    (STRUCTURED, _without("source"), 400, "the attribute source"),
    (STRUCTURED, _without("type"), 400, "the attribute type"),
    (STRUCTURED, _without("specversion"), 400, "send CloudEvents 1.0"),
    (STRUCTURED, json.dumps({**EVENT, "id": "a\nb"}).encode(), 400, "the attribute id"),
    (STRUCTURED, json.dumps({**EVENT, "id": 7}).encode(), 400, "the attribute id"),
    (STRUCTURED, json.dumps({**EVENT, "data_base64": "AA=="}).encode(), 400, "both data and data_base64"),
    (STRUCTURED, _without("data")[:-1] + b', "data_base64": "?"}', 400, "is not base64"),
    ({**BINARY, "ce-id": "%FF"}, b"1", 400, "ce-id is not percent-encoded UTF-8"),
    ({**BINARY, "ce-specversion": "0.3"}, b"1", 400, "send CloudEvents 1.0"),
    (BINARY, b"{", 400, "the body is not JSON"),
)


@pytest.mark.parametrize(("headers", "body", "status", "words"), REFUSED)
def test_what_is_no_event_is_refused(headers: dict[str, str], body: bytes, status: int, words: str) -> None:
    with pytest.raises(EventRefused) as refused:
        read_event(EVENTS, headers, body)
    assert refused.value.status == status
    assert words in str(refused.value)


def test_plain_json_is_named_by_its_header() -> None:
    assert read_event(PLAIN, {**JSON, "x-delivery": " 72d3 "}, b'{"n": 1}') == ("72d3", {"n": 1})
    for headers, status in ((JSON, 400), ({**JSON, "x-delivery": "  "}, 400), ({"x-delivery": "1"}, 415)):
        with pytest.raises(EventRefused) as refused:
            read_event(PLAIN, headers, b"{}")
        assert refused.value.status == status


async def _sent() -> list[tuple[int, Any]]:
    lab = Lab(make_agent(), "ab")
    await lab.form()
    api, answers = Api(lab), []
    answers.append(await api.ask("POST", "/hook/orders", EVENT, headers=STRUCTURED))
    answers.append(await api.ask("POST", "/hook/orders", {"n": 2}, headers=BINARY))  # sent again: other data
    answers.append(await api.ask("POST", "/hook/hub/issues", {"n": 3}, headers={**JSON, "x-delivery": "7"}))
    answers.append(await api.ask("POST", "/hook/unheard", EVENT, headers=STRUCTURED))
    answers.append(await api.ask("GET", "/hook/orders"))
    large = {**EVENT, "id": "large", "data": "x" * PAYLOAD_BYTES_MAX}
    answers.append(await api.ask("POST", "/hook/orders", large, headers=STRUCTURED))
    answers.append(await api.ask("POST", "/hook/orders", b'{"n": NaN}', headers={**BINARY, "ce-id": "nan"}))
    answers.append(await api.ask("GET", "/result/order//shop|A-1", query={"wait": "5"}))
    answers.append(await api.ask("POST", "/hook/orders", EVENT, headers=STRUCTURED, loopback=False))
    assert not lab.failures
    return answers


def test_an_event_becomes_a_task_once() -> None:
    first, again, plain, unknown, get, large, nan, result, stranger = run(_sent)
    assert first == (202, {"task": "order//shop|A-1", "new": True})
    assert again == (200, {"task": "order//shop|A-1", "new": False})
    assert plain == (202, {"task": "order/7", "new": True})
    assert unknown[0] == 404
    assert "it has: hub/issues, orders" in unknown[1]["error"]
    assert get == (405, {"error": "a webhook takes POST"})
    assert large[0] == 413
    assert f"{PAYLOAD_BYTES_MAX:,} bytes" in large[1]["error"]
    assert nan[0] == 400
    assert result[1]["result"] == EVENT
    assert stranger[0] == 403


async def _two_replicas() -> tuple[int, list[Any]]:
    lab = Lab(make_agent(), "ab")
    await lab.form()
    bodies = []
    for name in "ab":
        api = Api(lab)
        api.it._engine = lab.engine(name)
        bodies.append((await api.ask("POST", "/hook/orders", EVENT, headers=STRUCTURED))[1])
    await lab.sure(lambda: all(not engine.claims.open for engine in lab.live()))
    ran = sum(event.facts[1] == "order//shop|A-1" for event in lab.history.of("begin"))
    return ran, bodies


def test_an_event_that_comes_to_two_replicas_runs_once() -> None:
    ran, bodies = run(_two_replicas)
    assert ran == 1
    assert {body["task"] for body in bodies} == {"order//shop|A-1"}


async def _with_a_secret() -> list[int]:
    lab = Lab(make_agent(), "a")
    await lab.form()
    api = Api(lab, SECRET)

    async def send(path: str, token: str) -> int:
        headers = {**STRUCTURED, "authorization": f"Bearer {token}"}
        return (await api.ask("POST", path, EVENT, headers=headers, loopback=False))[0]

    own = hook_token(SECRET, "orders")
    return [
        await send("/hook/orders", own),
        await send("/hook/orders", http_token(SECRET)),
        await send("/hook/orders", hook_token(b"another", "orders")),
        await send("/hook/hub/issues", own),
        await send("/submit", own),
        await send("/submit", hook_token(SECRET, "")),
    ]


def test_the_token_of_a_webhook_opens_that_webhook_only() -> None:
    assert run(_with_a_secret) == [202, 200, 401, 401, 401, 401]


def test_declarations_that_cannot_work_are_refused() -> None:
    agent = make_agent()
    for path in ("/orders", "Orders", "", "a//b", "../x", "x" * 200):
        with pytest.raises(ConfigError, match="use a path such as"):
            agent.webhook(path, kind="order")
    with pytest.raises(ConfigError, match="declared twice"):
        agent.webhook("orders", kind="order")
    with pytest.raises(ConfigError, match="not the name of a header"):
        agent.webhook("more", kind="order", id_header="X Delivery")
    agent.check()
    agent.webhook("lost", kind="unheard")
    with pytest.raises(ConfigError, match="webhook 'lost': the agent has no handler for 'unheard'; it has: order"):
        agent.check()


def test_the_command_tells_what_a_sender_needs(tmp_path: Any) -> None:
    (tmp_path / "secret").write_bytes(SECRET + b"\n")
    told = CliRunner().invoke(commands, ["hook", "orders", "--at", "x:1", "--secret-file", str(tmp_path / "secret")])
    assert told.output == f"http://x:1/hook/orders\nAuthorization: Bearer {hook_token(SECRET, 'orders')}\n"
    told = CliRunner().invoke(commands, ["hook", "orders", "--json"])
    assert json.loads(told.output) == {"url": "http://127.0.0.1:7420/hook/orders", "header": None}
