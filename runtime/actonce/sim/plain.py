"""Plain (not async) handlers in a simulation: a thread that runs only while everything else waits for it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from threading import Thread
from typing import Any

from actonce.world import RunAsync

Outcome = Callable[[], Any]
"""Returns the result, or raises the error."""


async def hand_over(work: Callable[[RunAsync], Any]) -> Any:
    """Run `work` in a thread, step by step: from one of its async calls to the next the whole simulation stands still.

    So it is as deterministic as `work` itself. If the caller is cancelled while an async call of `work` is under way,
    the thread stays blocked in that call for ever.
    """
    calls: SimpleQueue[tuple[Callable[[], Coroutine[Any, Any, Any]] | None, Outcome]] = SimpleQueue()
    answers: SimpleQueue[Outcome] = SimpleQueue()

    def run_async(function: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        calls.put((function, _nothing))
        return answers.get()()

    def body() -> None:
        try:
            value = work(run_async)
        except BaseException as error:
            calls.put((None, _raising(error)))
        else:
            calls.put((None, lambda: value))

    Thread(target=body, daemon=True).start()
    while True:
        function, outcome = calls.get()
        if function is None:
            return outcome()
        try:
            answer = await function()
        except Exception as error:
            answers.put(_raising(error))
        else:
            answers.put(_returning(answer))


def _returning(value: Any) -> Outcome:
    return lambda: value


def _raising(error: BaseException) -> Outcome:
    def fail() -> Any:
        raise error

    return fail


def _nothing() -> None:
    pass
