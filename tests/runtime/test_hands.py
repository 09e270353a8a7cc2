"""Between two threads: calls in order, jobs that can be cancelled, nothing left behind."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial

import pytest

from actonce.edge.hands import Mailbox, ThreadHands

pytestmark = pytest.mark.anyio
WAIT_S = 20
CALLS = 2_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Engine:
    """A second loop in a thread, as the engine's."""

    def __init__(self, hands: ThreadHands) -> None:
        self.loop = asyncio.new_event_loop()
        hands.attach(self.loop)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.loop.run_forever()
        self.loop.close()

    def call(self, call: Callable[[], object]) -> None:
        self.loop.call_soon_threadsafe(call)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


async def test_calls_arrive_in_order_on_the_right_thread() -> None:
    hands = ThreadHands()
    engine = Engine(hands)
    here, there = threading.get_ident(), set[int]()
    numbers: list[int] = []
    done = asyncio.Event()

    def back(number: int) -> None:
        assert threading.get_ident() == here
        numbers.append(number)
        if number == CALLS - 1:
            done.set()

    def over(number: int) -> None:
        there.add(threading.get_ident())
        hands.post(lambda: back(number))

    for number in range(CALLS):
        hands.engine(partial(over, number))
    await asyncio.wait_for(done.wait(), WAIT_S)
    assert numbers == list(range(CALLS))
    assert len(there) == 1
    assert here not in there
    engine.stop()


async def test_a_job_runs_here_and_is_cancelled_from_there() -> None:
    hands = ThreadHands()
    engine = Engine(hands)
    begun, cancelled = asyncio.Event(), asyncio.Event()
    handles = []

    async def job() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    engine.call(lambda: handles.append(hands.start(job)))
    await asyncio.wait_for(begun.wait(), WAIT_S)
    engine.call(lambda: handles[0].cancel())
    engine.call(lambda: handles[0].cancel())
    await asyncio.wait_for(cancelled.wait(), WAIT_S)
    engine.stop()


async def test_a_job_cancelled_before_its_first_step_still_gets_to_report_its_end() -> None:
    hands = ThreadHands()
    engine = Engine(hands)
    went_on, ended = False, asyncio.Event()

    async def job() -> None:
        nonlocal went_on
        try:
            await asyncio.sleep(0)
            await asyncio.Event().wait()
            went_on = True
        finally:
            ended.set()

    engine.call(lambda: hands.start(job).cancel())
    await asyncio.wait_for(ended.wait(), WAIT_S)
    await hands.close()
    assert not went_on
    engine.stop()


async def test_closing_cancels_what_still_runs() -> None:
    hands = ThreadHands()
    engine = Engine(hands)
    begun, ended = asyncio.Event(), asyncio.Event()

    async def job() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    engine.call(partial(hands.start, job))
    await asyncio.wait_for(begun.wait(), WAIT_S)
    await hands.close()
    assert ended.is_set()
    engine.stop()


async def test_a_closed_loop_takes_no_calls() -> None:
    loop = asyncio.new_event_loop()
    box = Mailbox(loop)
    loop.close()
    box.put(lambda: pytest.fail("ran"))


async def test_a_call_that_raises_does_not_lose_those_after_it() -> None:
    loop, seen = asyncio.get_running_loop(), asyncio.Event()
    errors: list[object] = []
    loop.set_exception_handler(lambda _, context: errors.append(context.get("exception")))
    box = Mailbox(loop)

    def bad() -> None:
        raise ValueError("planted")

    box.put(bad)
    box.put(lambda: None)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    box.put(seen.set)
    await asyncio.wait_for(seen.wait(), WAIT_S)
    loop.set_exception_handler(None)
    assert [str(error) for error in errors] == ["planted"]
