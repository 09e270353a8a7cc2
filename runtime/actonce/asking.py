"""One question from any task of the user's loop to the engine, and its answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, TypeVar

import anyio

from actonce.errors import ActonceError
from actonce.world import Hands

Answer = TypeVar("Answer")


async def ask(hands: Hands, call: Callable[[Callable[[Answer], None]], None]) -> Answer:
    """Run `call(reply)` on the engine and wait until it, now or later, calls `reply` with the answer.

    An `ActonceError` that `call` raises is raised here. When the caller is cancelled, the answer is dropped.
    """
    answered = anyio.Event()
    answers: list[Callable[[], Answer]] = []

    def arrive(answer: Callable[[], Answer]) -> None:
        answers.append(answer)
        answered.set()

    def on_engine() -> None:
        try:
            call(lambda answer: hands.post(lambda: arrive(lambda: answer)))
        except ActonceError as error:
            failure = error
            hands.post(lambda: arrive(lambda: _raise(failure)))

    hands.engine(on_engine)
    await answered.wait()
    return answers[0]()


async def wait(hands: Hands, call: Callable[[Callable[[], None]], None]) -> None:
    """`ask` for an answer without content."""

    def ask_nothing(reply: Callable[[None], None]) -> None:
        call(lambda: reply(None))

    await ask(hands, ask_nothing)


def _raise(error: ActonceError) -> NoReturn:
    raise error
