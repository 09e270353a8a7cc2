"""Runs claimed tasks, a bounded number at once, and writes down how they ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actonce.agent import Agent
from actonce.ledger import Ledger
from actonce.ownership import Member
from actonce.running import Run
from actonce.settings import Settings
from actonce.world import Cancel, World
from actonce_crdt import Done, TaskState, Try, pack_value

ERROR_CHARS_MAX = 2_000
"""How much of an error's text is remembered."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How an attempt ended: with a result (canonical msgpack), or with an error."""

    result: bytes | None
    error: str = ""
    final: bool = False
    """Another attempt could not end differently."""
    again: bool = False
    """The same attempt starts over at once, and does not count as another."""


class Executor:
    """The slots of one replica."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        agent: Agent,
        me: Member,
        ledger: Ledger,
        *,
        perform: Callable[[Run], Cancel],
        on_free: Callable[[], None],
    ) -> None:
        """
        Args:
            perform: starts a run over at the hands; `finished` is called back on the engine.
            on_free: a slot came free.
        """
        self._world, self._settings, self._agent, self._me, self._ledger = world, settings, agent, me, ledger
        self._perform, self._on_free = perform, on_free
        self.running: dict[str, Run] = {}
        self._retries: dict[str, Cancel] = {}
        self._due: dict[str, Run] = {}
        """Retries whose time has come while no slot was free."""
        self._leaving = False

    @property
    def free(self) -> int:
        """Slots without a handler."""
        return self._settings.slots - len(self.running)

    @property
    def idle(self) -> bool:
        """Nothing runs, and nothing waits for another attempt."""
        return not self.running and not self._retries and not self._due

    def has(self, task: str) -> bool:
        """Whether the task runs here, or waits here for its next attempt."""
        return task in self.running or task in self._retries or task in self._due

    def start(self, task: str, epoch: int) -> None:
        """Begin the attempt that the claim of this epoch is for."""
        self._retries.pop(task, None)
        self._due.pop(task, None)
        state = self._ledger.state.tasks[task]
        assert state.task is not None
        spec = self._agent.tasks[state.task.kind]
        attempt = (state.tries.attempt if state.tries else 0) + 1
        if attempt > spec.retries + 1:  # its last owner died between the last failure and writing the outcome
            self._write_done(task, epoch, Finished(None, state.tries.error if state.tries else "", final=True))
            return
        run = Run(task, spec, state.task.payload, epoch, attempt, self._world.now())
        self.running[task] = run
        run.job = self._perform(run)

    def finished(self, run: Run, how: Finished) -> None:
        """An attempt ended. What a superseded run has to say is not written: another replica has the task."""
        if self.running.get(run.task) is not run:
            return
        del self.running[run.task]
        superseded, run.revoked = run.revoked, True  # a thread that outlived its attempt must not post any more
        if not superseded:
            if how.again and not self._leaving:
                self._due[run.task] = run
            elif how.again:
                pass  # whoever takes it over starts over
            elif how.result is not None or how.final or run.attempt > run.spec.retries:
                self._write_done(run.task, run.epoch, how)
            else:
                self._retry(run, how.error)
        if self._due:  # before any new claim
            self._again(next(iter(self._due.values())))
        self._on_free()

    def revoke(self, task: str) -> None:
        """Somebody else has the task, or it is done: cancel the handler. Its effects are refused from now on."""
        self._due.pop(task, None)
        retry = self._retries.pop(task, None)
        if retry is not None:
            retry.cancel()
        run = self.running.get(task)
        if run is not None and not run.revoked:
            run.revoked = True
            if run.job is not None:
                run.job.cancel()

    def holds(self, task: str, state: TaskState) -> bool:
        """Whether the winning claim of the task is the one that we run it under."""
        claim = state.claim
        return claim is not None and Member(claim.author, claim.incarnation) == self._me and state.done is None

    def leave(self) -> None:
        """No further attempts here: whoever takes the tasks over will make them."""
        self._leaving = True
        for retry in self._retries.values():
            retry.cancel()
        self._retries.clear()
        self._due.clear()
        self._on_free()

    def _retry(self, run: Run, error: str) -> None:
        wait_s = self._backoff_s(run.attempt)
        at_ms = int((self._world.wall() + wait_s) * 1000)
        stamp = self._ledger.stamp()
        self._ledger.write(Try(run.task, stamp, self._me.name, run.epoch, run.attempt, at_ms, _text(error)))
        if self._leaving:
            return
        self._retries[run.task] = self._world.call_later(wait_s, lambda: self._again(run))

    def _again(self, run: Run) -> None:
        self._retries.pop(run.task, None)
        self._due.pop(run.task, None)
        if not self.holds(run.task, self._ledger.state.tasks[run.task]):
            return
        if self.free:
            self.start(run.task, run.epoch)
        else:
            self._due[run.task] = run

    def _backoff_s(self, attempt: int) -> float:
        """Exponential, with full jitter."""
        cap = min(self._settings.retry_wait_max_s, self._settings.retry_wait_s * 2 ** min(attempt, 30))
        return self._world.rng.uniform(0, cap)

    def _write_done(self, task: str, epoch: int, how: Finished) -> None:
        ok = how.result is not None
        result = how.result if how.result is not None else pack_value(_text(how.error))
        self._ledger.write(Done(task, self._ledger.stamp(), self._me.name, epoch, ok, result))


def printable(text: str) -> str:
    """Without the halves of characters that some errors contain, which can be neither stored nor printed."""
    return text.encode("utf-8", "replace").decode()


def _text(error: str) -> str:
    """An error as it can be stored."""
    return printable(error[:ERROR_CHARS_MAX])
