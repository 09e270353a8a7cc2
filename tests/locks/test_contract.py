"""All our lock services keep the contract: the simulated one, and real servers of NATS and etcd."""

import random
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from actonce.locks import LockConflict, LockService
from actonce.locks.contract_suite import LockBench, LockContract
from actonce.sim.cluster import simulate
from actonce.sim.locks import LockStore, SimLockService

from .servers import etcd_server, nats_server, running

T = TypeVar("T")


class SimBench:
    """The store of the simulator, in virtual time."""

    def __init__(self, seed: int) -> None:
        self.store = LockStore(random.Random(seed), slow_share=0.0)

    def run(self, test: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return simulate(test)

    def client(self) -> LockService:
        return SimLockService(self.store, "a")

    def stop(self) -> None:
        self.store.unreachable.clear()
        self.store.down = True

    def start(self) -> None:
        self.store.down = False

    def hang(self) -> None:
        self.store.unreachable.add("a")


class TestSimulated(LockContract):
    @pytest.fixture
    def bench(self) -> LockBench:
        return SimBench(1)


class TestNats(LockContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[LockBench]:
        with running(nats_server(tmp_path)) as server:
            yield server


class TestEtcd(LockContract):
    @pytest.fixture
    def bench(self, tmp_path: Path) -> Iterator[LockBench]:
        with running(etcd_server(tmp_path)) as server:
            yield server


class Broken(SimBench):
    """Breaks one promise."""

    def __init__(self, promise: str) -> None:
        super().__init__(1)
        self._promise = promise
        if promise == "compares":
            self.store = _Careless(random.Random(1), slow_share=0.0)

    def stop(self) -> None:
        super().stop()
        if self._promise == "remembers":
            self.store.registers.clear()
        if self._promise == "counts":
            self.store.revision = 0


class _Careless(LockStore):
    def put(self, key: str, value: bytes, expected: int) -> int:
        found = self.registers.get(key)
        return super().put(key, value, found.revision if found is not None else 0)


@pytest.mark.parametrize("promise", ["compares", "remembers", "counts"])
def test_a_broken_service_is_found(promise: str) -> None:
    """The suite can fail."""
    with pytest.raises((AssertionError, LockConflict, pytest.fail.Exception)):
        run_all(promise)


def run_all(promise: str) -> None:
    for name in sorted(vars(LockContract)):
        if name.startswith("test_"):
            getattr(LockContract(), name)(Broken(promise))
