"""Where effects go: the seam, and the three sinks that ship.

A sink does one effect and says how it ended, as exactly as it can: a receipt, `SinkRefused` (surely not done), or
`SinkUnknown` (perhaps done). What it can do about duplicates it declares in its attributes, and the outbox settles
doubts by them. Sinks run where handlers run, on the user's event loop, never on the engine's thread.
"""

from __future__ import annotations

import fcntl
import inspect
import json
import math
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import anyio
import anyio.from_thread
import anyio.to_thread

from actonce.errors import GateClosed, SinkError, SinkRefused, SinkUnknown
from actonce.http_sink import HttpSink
from actonce_crdt import Json

__all__ = ["CallableSink", "FileSink", "HttpSink", "Sink"]

Gate = Callable[[], None]
T = TypeVar("T")


class Sink(Protocol):
    """Does effects, and can perhaps be asked about them."""

    dedupe_window_s: float
    """How long it refuses a repeated key: 0 never, `math.inf` always."""
    publish_timeout_s: float
    """After this long no request of a replica that died can still arrive; an "absent" found earlier proves nothing."""
    can_lookup: bool

    async def publish(self, body: Any, key: str, fence: int, gate: Gate) -> Any:
        """Do the effect; returns its receipt, which must be JSON-like.

        `gate` is to be called at the last moment before anything leaves, on this event loop, once for each try. What
        it raises (GateClosed) passes through, and nothing may have been done then. `fence` is
        that of `Context.fence`.

        Raises:
            SinkRefused, SinkUnknown: anything else that is raised counts as SinkUnknown.
        """
        ...

    async def lookup(self, key: str) -> Any:
        """The receipt of an effect that was done, None when it was not. Only where `can_lookup`.

        Raises SinkUnknown when that cannot be told now.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections. Called when the last replica of this program that uses the sink has ended, on its
        event loop; all sinks together have five seconds, and an error is only reported. No publish or lookup follows,
        unless such a replica is started again.
        """
        ...


@runtime_checkable
class Stamping(Protocol):
    """A sink whose effects hold the time at which they were first posted: it becomes part of the recorded body, so that
    whoever sends it again sends the same.
    """

    def stamped(self, body: Any, wall_s: float) -> Any:
        """The body, complete. Anything that cannot be completed comes back as it is, to be refused by `publish`."""
        ...


class CallableSink:
    """Calls `fn(body, key)`, a coroutine function, or a plain one in a worker thread; what it returns is the receipt.

    `lookup(key)`, if there is one, likewise; it returns None for "not done". An exception of `fn` other than
    `SinkRefused` counts as `SinkUnknown`: it may have been raised after the act. So does running for longer than
    `publish_timeout_s`; a plain function cannot be stopped, and goes on in its thread then.
    """

    def __init__(
        self,
        fn: Callable[[Any, str], Any],
        *,
        lookup: Callable[[str], Any] | None = None,
        dedupe_window_s: float = 0.0,
        publish_timeout_s: float = 60.0,
    ) -> None:
        self.dedupe_window_s = dedupe_window_s
        self.publish_timeout_s = publish_timeout_s
        self.can_lookup = lookup is not None
        self._fn = fn
        self._lookup = lookup

    async def publish(self, body: Json, key: str, fence: int, gate: Gate) -> Json:
        return await self._called(partial(self._fn, body, key), gate)

    async def lookup(self, key: str) -> Json | None:
        if self._lookup is None:
            raise SinkUnknown("this sink cannot be asked")
        return await self._called(partial(self._lookup, key), no_gate)

    async def aclose(self) -> None:
        pass

    async def _called(self, call: Callable[[], Any], gate: Gate) -> Json:
        try:
            with anyio.fail_after(self.publish_timeout_s):
                if inspect.iscoroutinefunction(call):
                    gate()
                    answer = call()
                else:
                    answer = await in_worker(gate, call)
                receipt: Json = await answer if inspect.isawaitable(answer) else answer
                return receipt
        except (SinkError, GateClosed):
            raise
        except TimeoutError:
            raise SinkUnknown(f"no answer in {self.publish_timeout_s} s") from None
        except Exception as error:
            raise SinkUnknown(f"{type(error).__name__}: {error}") from error


class FileSink:
    """Appends each effect to a file, as one line of JSON `{"key", "fence", "body"}`, synced to the disk; a key once.

    Replicas on one host may share the file, on a local disk: it is locked while a line is written. A line that a crash
    tore is no effect; the next one begins on a line of its own. The keys of the file are kept in memory: some 150 bytes
    each.
    """

    dedupe_window_s = math.inf
    publish_timeout_s = 5.0
    can_lookup = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._offsets: dict[str, int] = {}
        self._read_to = 0
        self._inode = (0, 0)

    async def publish(self, body: Json, key: str, fence: int, gate: Gate) -> Json:
        try:
            line = json.dumps({"key": key, "fence": fence, "body": body}, allow_nan=False).encode() + b"\n"
        except (TypeError, ValueError) as error:
            raise SinkRefused(f"the body cannot be written as JSON: {error}", permanent=True) from None
        return await self._in_time(gate, partial(self._append, key, line))

    async def lookup(self, key: str) -> Json | None:
        return await self._in_time(no_gate, partial(self._find, key))

    async def aclose(self) -> None:
        pass

    async def _in_time(self, gate: Gate, call: Callable[[], T]) -> T:
        try:
            with anyio.fail_after(self.publish_timeout_s):
                return await in_worker(gate, call)
        except TimeoutError:
            raise SinkUnknown(f"{self.path}: no answer in {self.publish_timeout_s} s") from None

    def _append(self, key: str, line: bytes) -> Json:
        try:
            file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise SinkRefused(f"{self.path} cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            self._catch_up(file)
            known = self._offsets.get(key)
            if known is not None:
                os.fsync(file)  # whoever wrote it may have died before its own
                return {"offset": known}
            offset = os.fstat(file).st_size
            if offset and os.pread(file, 1, offset - 1) != b"\n":  # the torn line of a process that died
                line, offset = b"\n" + line, offset + 1
            written = os.write(file, line)
            os.fsync(file)
        except OSError as error:
            raise SinkUnknown(f"{self.path} cannot be written: {error.strerror}") from None
        finally:
            os.close(file)
        if written != len(line):
            raise SinkUnknown(f"{self.path}: {written} of {len(line)} bytes written")
        return {"offset": offset}

    def _find(self, key: str) -> Json | None:
        try:
            file = os.open(self.path, os.O_RDONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                self._catch_up(file)
                known = self._offsets.get(key)
            finally:
                os.close(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SinkUnknown(f"{self.path} cannot be read: {error.strerror}") from None
        return None if known is None else {"offset": known}

    def _catch_up(self, file: int) -> None:
        """Read what was appended since; all of it, if it is another file now. The lock is held."""
        found = os.fstat(file)
        if (found.st_dev, found.st_ino) != self._inode or found.st_size < self._read_to:
            self._offsets, self._read_to, self._inode = {}, 0, (found.st_dev, found.st_ino)
        while chunk := os.pread(file, found.st_size - self._read_to, self._read_to):
            whole = chunk[: chunk.rfind(b"\n") + 1]
            if not whole:
                break
            for line in whole.splitlines(keepends=True):
                key = key_of(line)
                if isinstance(key, str):
                    self._offsets.setdefault(key, self._read_to)
                self._read_to += len(line)


def key_of(line: bytes) -> object:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record.get("key") if isinstance(record, dict) else None


async def in_worker(gate: Gate, call: Callable[[], T]) -> T:
    """Run `call` in a worker thread. The gate runs on the event loop, but only once the thread is there."""

    def work() -> T:
        anyio.from_thread.check_cancelled()
        anyio.from_thread.run_sync(gate)
        return call()

    return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)


def no_gate() -> None:
    """For what changes nothing."""
