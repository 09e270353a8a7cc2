"""The contract of sinks, as tests that every sink must pass. Also for sinks of third parties:

    class TestMine(SinkContract):
        @pytest.fixture
        def bench(self) -> Iterator[SinkBench]:
            yield MyBench()

A `SinkBench` runs a service and does to it what a test needs. What a sink declares, it must keep: if it says that it
can be asked, it is asked; if it says that it refuses repeated keys, they are repeated. pytest is imported here and in
the contract of lock services, and nowhere else in the package.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import anyio
import pytest

from actonce.errors import GateClosed, SinkError, SinkRefused, SinkUnknown
from actonce.sinks import Sink, Stamping
from actonce_crdt import Json, pack_value

__all__ = ["SinkBench", "SinkContract"]

SLACK_S = 5.0
KEYS = (
    *("reply/message-1/#1", "cron:digest:2026-11-21T07:00:00Z/#2", 'a "b" c\\d', " blank ", "ä/日本/🙂", "k%23#"),
    "x" * 400,
)


class SinkBench(Protocol):
    """One service behind sinks, fresh, on this machine."""

    def body(self, number: int) -> Json:
        """Something that the service takes; another one for each number."""
        ...

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """In a fresh event loop, with the service running."""
        ...

    def sink(self, timeout_s: float = 10.0) -> Sink:
        """As another process reaches the service; it gives up after so long."""
        ...

    def done(self) -> Sequence[tuple[str, Json]]:
        """(what tells effects apart, body) of all that was carried out so far, each time that it was."""
        ...

    def hang(self) -> None:
        """From now on the service takes requests and answers none."""
        ...

    def stop(self) -> None:
        """From now on nobody is there."""
        ...


class SinkContract:
    """Subclass it as `Test...` and give it a fixture `bench`."""

    @pytest.fixture
    def bench(self) -> SinkBench:
        raise NotImplementedError("a subclass says what it tests")

    def test_it_declares_what_it_can(self, bench: SinkBench) -> None:
        async def test() -> None:
            sink = bench.sink()
            assert sink.publish_timeout_s > 0
            assert sink.dedupe_window_s >= 0
            assert sink.can_lookup in (True, False)
            await sink.aclose()

        bench.run(test)

    def test_an_effect_is_done_once_and_its_receipt_can_be_stored(self, bench: SinkBench) -> None:
        async def test() -> None:
            async with _Using(bench) as sink:
                gates: list[int] = []
                body = _stamped(sink, bench.body(0))
                receipt = await sink.publish(body, KEYS[0], 3, lambda: gates.append(len(bench.done())))
                pack_value(receipt)
                assert receipt is not None, "None is what a look-up says of an effect that was not done"
                assert len(bench.done()) == 1
                assert gates, "the gate was not asked"
                assert set(gates) == {0}, "the effect was done before the gate let it pass"

        bench.run(test)

    def test_nothing_is_done_behind_a_closed_gate(self, bench: SinkBench) -> None:
        async def test() -> None:
            def closed() -> None:
                raise GateClosed("superseded")

            async with _Using(bench) as sink:
                body = _stamped(sink, bench.body(0))
                with pytest.raises(GateClosed):
                    await sink.publish(body, KEYS[0], 3, closed)
                assert not bench.done()
                await sink.publish(body, KEYS[0], 3, _opened)
                assert len(bench.done()) == 1

        bench.run(test)

    def test_any_key_will_do(self, bench: SinkBench) -> None:
        async def test() -> None:
            async with _Using(bench) as sink:
                for number, key in enumerate(KEYS):
                    body = _stamped(sink, bench.body(number))
                    receipt = await sink.publish(body, key, 3, _opened)
                    if sink.can_lookup:
                        assert await sink.lookup(key) == receipt, key
                assert len(bench.done()) == len(KEYS)

        bench.run(test)

    def test_whoever_comes_later_finds_what_was_done(self, bench: SinkBench) -> None:
        async def test() -> None:
            async with _Using(bench) as first, _Using(bench) as second:
                if not first.can_lookup:
                    with pytest.raises(SinkUnknown):
                        await first.lookup(KEYS[0])
                    return
                assert await second.lookup(KEYS[0]) is None
                receipt = await first.publish(_stamped(first, bench.body(0)), KEYS[0], 3, _opened)
                assert await second.lookup(KEYS[0]) == receipt
                assert await second.lookup(KEYS[1]) is None

        bench.run(test)

    def test_a_repeated_key_is_refused_if_that_is_declared(self, bench: SinkBench) -> None:
        """By whomever, also at once; and each gets the same receipt."""

        async def test() -> None:
            async with _Using(bench) as first, _Using(bench) as second:
                if not first.dedupe_window_s:
                    return
                body, receipts = _stamped(first, bench.body(0)), list[Json]()

                async def publish(sink: Sink) -> None:
                    for _ in range(2):
                        try:
                            receipts.append(await sink.publish(body, KEYS[0], 3, _opened))
                        except SinkUnknown:  # the other one is at it
                            receipts.append(await sink.publish(body, KEYS[0], 3, _opened))

                async with anyio.create_task_group() as group:
                    for sink in (first, second):
                        group.start_soon(publish, sink)
                assert [receipt == receipts[0] for receipt in receipts] == [True] * 4
                assert len(bench.done()) == 1
                await second.publish(_stamped(first, bench.body(1)), KEYS[1], 3, _opened)
                assert len(bench.done()) == 2

        bench.run(test)

    def test_a_body_that_cannot_be_sent_is_refused_for_good(self, bench: SinkBench) -> None:
        async def test() -> None:
            async with _Using(bench) as sink:
                with pytest.raises(SinkRefused) as caught:
                    await sink.publish(float("nan"), KEYS[0], 3, _opened)
                assert caught.value.permanent
                assert not bench.done()

        bench.run(test)

    def test_no_answer_is_no_refusal(self, bench: SinkBench) -> None:
        """Within the declared time; and nothing is made up."""

        async def test() -> None:
            async with _Using(bench, timeout_s=0.3) as sink:
                bench.hang()
                with anyio.fail_after(sink.publish_timeout_s + SLACK_S), pytest.raises(SinkUnknown):
                    await sink.publish(_stamped(sink, bench.body(0)), KEYS[0], 3, _opened)
                if sink.can_lookup:
                    with anyio.fail_after(sink.publish_timeout_s + SLACK_S), pytest.raises(SinkUnknown):
                        await sink.lookup(KEYS[0])

        bench.run(test)

    def test_where_nobody_is_nothing_was_done(self, bench: SinkBench) -> None:
        async def test() -> None:
            async with _Using(bench, timeout_s=1.0) as sink:
                bench.stop()
                with pytest.raises(SinkError) as caught:
                    await sink.publish(_stamped(sink, bench.body(0)), KEYS[0], 3, _opened)
                assert isinstance(caught.value, SinkRefused), "nothing left, so nothing can have been done"
                assert not caught.value.permanent, "it may come back"

        bench.run(test)

    def test_a_publish_that_is_cancelled_leaves_the_sink_usable(self, bench: SinkBench) -> None:
        async def test() -> None:
            async with _Using(bench) as sink:
                with anyio.CancelScope() as scope:
                    await sink.publish(_stamped(sink, bench.body(0)), KEYS[0], 3, scope.cancel)
                await sink.publish(_stamped(sink, bench.body(1)), KEYS[1], 3, _opened)
                assert len(bench.done()) in (1, 2)

        bench.run(test)


class _Using:
    """A sink that is closed in the end; twice, which must do no harm."""

    def __init__(self, bench: SinkBench, timeout_s: float = 10.0) -> None:
        self._sink = bench.sink(timeout_s)

    async def __aenter__(self) -> Sink:
        return self._sink

    async def __aexit__(self, *error: object) -> None:
        await self._sink.aclose()
        await self._sink.aclose()


def _opened() -> None:
    """A gate that lets everything pass."""


def _stamped(sink: Sink, body: Json) -> Json:
    """As the outbox records it."""
    return sink.stamped(body, 1_700_000_000.0) if isinstance(sink, Stamping) else body
