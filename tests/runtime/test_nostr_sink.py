"""The Nostr sink against a small relay on a real socket, which checks hashes and signatures."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actonce.errors import ConfigError, GateClosed, SinkError, SinkRefused, SinkUnknown
from actonce.nostr_sink import NostrSink
from actonce_crdt import Json

from .relay import Relay, relaying

pytestmark = pytest.mark.anyio
SECRET = "1" * 64
AT = 1_700_000_000.0
SHORT_S = 0.3


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def opened() -> None:
    """A gate that lets everything pass."""


async def published(body: Json, relay: Relay, key: str = "k", **options: Any) -> Json:
    async with relaying(relay):
        sink = NostrSink(relay.url, SECRET, **options)
        return await sink.publish(sink.stamped(body, AT), key, 1, opened)


async def failing(relay: Relay, body: Json = "hello") -> SinkError:
    with pytest.raises(SinkError) as caught:
        await published(body, relay, timeout_s=SHORT_S)
    return caught.value


async def test_a_text_is_a_signed_note() -> None:
    relay = Relay()
    receipt = await published('line\n\t"ä" \\ 🙂\x7f', relay)
    [event] = relay.arrivals
    assert receipt == {"id": event["id"], "relay": relay.url}
    assert (event["kind"], event["created_at"], event["content"]) == (1, int(AT), 'line\n\t"ä" \\ 🙂\x7f')
    assert event["pubkey"] == "4f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa"


async def test_the_same_effect_is_the_same_event_and_another_key_another() -> None:
    one, other = NostrSink("ws://a.example", SECRET), NostrSink("wss://b.example", SECRET.upper())
    body = one.stamped({"content": "hi", "kind": 30_023, "tags": [["d", "x"]]}, AT)
    assert one.event(body, "k")["id"] == other.event(other.stamped(body, AT + 99), "k")["id"]
    assert one.event(body, "k")["id"] != one.event(body, "k2")["id"]


@pytest.mark.parametrize(
    "body",
    [
        *(1, None, {"content": 1}, {"text": "x"}, {"content": "x", "kind": -1}, {"content": "x", "tags": ["t"]}),
        *({"content": "x", "tags": [[1]]}, {"content": "x", "created_at": "now"}, "a\x00b", "\ud800"),
    ],
)
async def test_what_is_no_event_is_refused_for_good(body: Json) -> None:
    sink = NostrSink("ws://127.0.0.1:9", SECRET)
    with pytest.raises(SinkRefused) as caught:
        await sink.publish(sink.stamped(body, AT), "k", 1, opened)
    assert caught.value.permanent


@pytest.mark.parametrize(
    ("why", "permanent"),
    [
        *(("blocked: no", True), ("invalid: odd", True), ("auth-required: who", True)),
        *(("rate-limited: slow down", False), ("error: disk", False)),
    ],
)
async def test_a_relay_that_says_no(why: str, permanent: bool) -> None:
    sink = NostrSink("ws://127.0.0.1:9", SECRET)
    name = sink.event(sink.stamped("hello", AT), "k")["id"]
    error = await failing(Relay(says=[json.dumps(["OK", name, False, why])]))
    assert isinstance(error, SinkRefused)
    assert (error.permanent, why in error.reason) == (permanent, True)


async def test_a_duplicate_is_done_whatever_the_relay_calls_it() -> None:
    sink = NostrSink("ws://127.0.0.1:9", SECRET)
    name = sink.event(sink.stamped("hello", AT), "k")["id"]
    receipt = await published("hello", Relay(says=[json.dumps(["OK", name, False, "duplicate: have it"])]))
    assert isinstance(receipt, dict)
    assert receipt["id"] == name


@pytest.mark.parametrize("said", ["not json", '{"a": 1}', "[1, 2]", "[" * 100_000, "x" * 70_000, "", "[]"])
async def test_garbage_or_an_end_in_place_of_an_answer_is_unknown(said: str) -> None:
    assert isinstance(await failing(Relay(says=[said])), SinkUnknown)


async def test_a_relay_that_hangs_is_unknown() -> None:
    assert isinstance(await failing(Relay(hangs=True)), SinkUnknown)
    assert isinstance(await failing(Relay(says=['["OK", "other", true, ""]', '["EOSE", "x"]'])), SinkUnknown)


async def test_nobody_there_and_a_closed_gate() -> None:
    def closed() -> None:
        raise GateClosed("superseded")

    sink = NostrSink("ws://127.0.0.1:9", SECRET, timeout_s=SHORT_S)
    with pytest.raises(SinkRefused) as caught:
        await sink.publish(sink.stamped("hello", AT), "k", 1, opened)
    assert not caught.value.permanent
    relay = Relay()
    async with relaying(relay):
        with pytest.raises(GateClosed):
            await NostrSink(relay.url, SECRET).publish(sink.stamped("hello", AT), "k", 1, closed)
    assert not relay.arrivals


@pytest.mark.parametrize(
    ("relay", "secret"), [("http://a.example", SECRET), ("ws://a", "nsec1abc"), ("ws://a", "0" * 64), ("", SECRET)]
)
def test_what_cannot_be_a_sink(relay: str, secret: str) -> None:
    with pytest.raises(ConfigError):
        NostrSink(relay, secret)
