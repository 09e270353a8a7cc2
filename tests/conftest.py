"""All tests: fewer looks for garbage. A simulation makes many objects and few cycles, so looking for them every 700
objects takes a tenth of its time. (Not `gc.freeze`: Hypothesis asks the collector who refers to what it is given.)

And no simulated engine may raise unnoticed: a real one would have stopped, whatever the test went on to see.
"""

import gc
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from actonce.sim.cluster import Cluster

OBJECTS_BETWEEN_LOOKS = 50_000

gc.set_threshold(OBJECTS_BETWEEN_LOOKS, 20, 20)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background job of a shell; our children would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_engine_raises(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Except where a test says that one does: `pytest.mark.engine_raises`."""
    raised: list[str] = []
    broken = Cluster._broken

    def note(self: Cluster, loop: Any, context: dict[str, Any]) -> None:
        raised.append(f"{context['message']}: {context.get('exception')!r}")
        broken(self, loop, context)

    monkeypatch.setattr(Cluster, "_broken", note)
    yield
    if request.node.get_closest_marker("engine_raises") is None:
        assert not raised
