"""One question from any task of the user's loop to the engine, and its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from actonce.errors import ActonceError
from actonce.world import Hands

Answer = TypeVar("Answer")


async def ask(
    hands: Hands,
    call: Callable[[Callable[[Answer], None]], None],
    unanswered: set[asyncio.Future[Any]] | None = None,
) -> Answer:
    """Run `call(reply)` on the engine and wait until it, now or later, calls `reply` with the answer.

    An `ActonceError` that `call` raises is raised here. When the caller is cancelled, the answer is dropped.

    Args:
        unanswered: holds this question while it is open; whoever sets an exception there ends the waiting.
    """
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def arrive(answer: Answer) -> None:
        if not answered.done():
            answered.set_result(answer)

    def refuse(error: ActonceError) -> None:
        if not answered.done():
            answered.set_exception(error)

    def on_engine() -> None:
        try:
            call(lambda answer: hands.post(lambda: arrive(answer)))
        except ActonceError as error:
            hands.post(partial(refuse, error))

    if unanswered is not None:
        unanswered.add(answered)
        answered.add_done_callback(unanswered.discard)
    hands.engine(on_engine)
    return await answered


async def wait(hands: Hands, call: Callable[[Callable[[], None]], None]) -> None:
    """`ask` for an answer without content."""

    def ask_nothing(reply: Callable[[None], None]) -> None:
        call(lambda: reply(None))

    await ask(hands, ask_nothing)

