"""The contract of sinks, on the Matrix sink: replicas that share an access token, a server that forgets nothing.

Replicas with a token each, which look for what they sent, are in `test_matrix_lookup.py`, and before a real server in
`tests/matrix`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from actonce.matrix import MatrixSink
from actonce.sink_contract import SinkBench, SinkContract
from actonce.sinks import Sink
from actonce_crdt import Json

from .scripted import WAIT_S, Answer, Asked, Scripted, http

ROOM = "!room:here"


class MatrixBench:
    """A homeserver on a real socket, which does a transaction of one token once."""

    def __init__(self) -> None:
        self.events: dict[str, tuple[str, Json]] = {}
        self.hangs = False
        self.server = Scripted(self.answer)
        self.listener: asyncio.Server | None = None

    def answer(self, asked: Asked) -> Answer:
        if self.hangs:
            return None
        transaction = asked.path.rsplit("/", 1)[1]
        event, _ = self.events.setdefault(transaction, (f"$e{len(self.events)}", asked.body["body"]))
        return http(200, {"event_id": event})

    def body(self, number: int) -> Json:
        return {"room": ROOM, "text": f"hello {number}"}

    def run(self, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
        tasks = set[asyncio.Task[None]]()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.ensure_future(self.server.serve(reader, writer)))

        async def scenario() -> None:
            self.listener = await asyncio.start_server(connected, "127.0.0.1", 0)
            self.server.url = f"http://127.0.0.1:{self.listener.sockets[0].getsockname()[1]}"
            try:
                await test()
            finally:
                self.stop()
                await asyncio.wait_for(asyncio.gather(*tasks), WAIT_S)

        asyncio.run(scenario())

    def sink(self, timeout_s: float = 10.0) -> Sink:
        return MatrixSink(self.server.url, "token", shared_device=True, timeout_s=timeout_s)

    def done(self) -> Sequence[tuple[str, Json]]:
        return list(self.events.values())

    def hang(self) -> None:
        self.hangs = True

    def stop(self) -> None:
        assert self.listener is not None
        self.listener.close()


class TestMatrix(SinkContract):
    @pytest.fixture
    def bench(self) -> SinkBench:
        return MatrixBench()
