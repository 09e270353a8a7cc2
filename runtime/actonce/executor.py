"""Runs claimed tasks, a bounded number at once, and writes down how they ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from actonce.agent import Agent, TaskSpec
from actonce.guards import Guards
from actonce.ledger import Ledger
from actonce.ownership import Member
from actonce.poison import APART_S, DEATHS_MAX, Poison, must_be_apart
from actonce.readiness import failed_before
from actonce.reclaim import RECLAIM
from actonce.running import Run
from actonce.settings import Settings
from actonce.standing import Standing
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

    def ends(self, run: Run) -> bool:
        """Whether there is no further attempt, unless another replica has the task."""
        return not self.again and (self.result is not None or self.final or run.attempt >= run.last_attempt)


class Executor:
    """The slots of one replica."""

    def __init__(
        self,
        world: World,
        settings: Settings,
        agent: Agent,
        me: Member,
        ledger: Ledger,
        guards: Guards,
        poison: Poison,
        standing: Standing,
        *,
        perform: Callable[[Run], Cancel],
        when_safe: Callable[[Run, Callable[[], None]], None],
        remember: Callable[[Run], object],
        on_free: Callable[[], None],
    ) -> None:
        """
        Args:
            perform: starts a run over at the hands; `finished` is called back on the engine.
            when_safe: calls back once all that we wrote is on disk and read by every member in play.
            remember: writes what a successful run wrote to memory.
            on_free: a slot came free.
        """
        self._world, self._settings, self._agent, self._me, self._ledger = world, settings, agent, me, ledger
        self._guards, self._poison, self._standing, self._perform = guards, poison, standing, perform
        self._when_safe, self._remember, self._on_free = when_safe, remember, on_free
        self.running: dict[str, Run] = {}
        self._retries: dict[str, tuple[Run, Cancel]] = {}
        self._due: dict[str, Run] = {}
        """Retries whose time has come while no slot was free, and what may not go on for the moment, by order."""
        self._interrupted: set[Run] = set()
        """Being cancelled, by order: they begin again when they may."""
        self._parked: dict[Run, int] = {}
        """Runs that wait for other tasks, or that others wait for: they hold no slot. How many waits of each: the last
        one that is over takes a slot again, or what the others wait for might never get one."""
        self._unparking: list[tuple[Run, Callable[[], None]]] = []
        self._leaving = False

    @property
    def free(self) -> int:
        """Slots without a handler."""
        return self._settings.slots - len(self.running) + len(self._parked)

    def has_room(self, kind: str, asking: int = 0) -> bool:
        """Whether a task of this kind may begin beside so many that are asked for. Taking the rights of the dead needs
        no slot: handlers in all of them may wait for these rights."""
        return kind == RECLAIM or self.free - asking > 0

    @property
    def idle(self) -> bool:
        """Nothing runs, and nothing waits for another attempt."""
        return not self.running and not self._retries and not self._due

    def has(self, task: str) -> bool:
        """Whether the task runs here, or waits here for its next attempt."""
        return task in self.running or task in self._retries or task in self._due

    def start(self, task: str, epoch: int, fence: int) -> None:
        """Begin the attempt that the claim of this epoch is for."""
        self._retries.pop(task, None)
        self._due.pop(task, None)
        state = self._ledger.state.tasks[task]
        assert state.task is not None
        spec = self._agent.tasks[state.task.kind]
        verdict = self._verdict(state, spec)
        if verdict is not None:
            self._write_done(task, epoch, *verdict)
            return
        attempt = state.attempt + 1
        last = state.reopen.attempts if state.reopen else 0
        run = Run(task, spec, state.task.payload, epoch, attempt, self._world.now(), fence)
        run.last_attempt, run.reopened = last + spec.retries + 1, state.reopen is not None
        run.until = self._guards.of(spec.kind).until(run)
        before = self.running.get(task)
        if before is not None:  # it was taken from us, has not ended, and is not heard of any more
            self._parked.pop(before, None)
        self.running[task] = run
        if spec.kind == RECLAIM:
            self._parked[run] = 1
        if self._poison.is_suspect(task):
            self._when_safe(run, lambda: self._begin(run))
        else:
            self._begin(run)

    def _verdict(self, state: TaskState, spec: TaskSpec) -> tuple[Finished, str] | None:
        """Why there is to be no further attempt, and what that is called."""
        assert state.task is not None
        if state.cancel is not None:
            return Finished(None, "it was cancelled"), "cancelled"
        before = failed_before(state.task, self._ledger.state.tasks)
        if before is not None:
            return Finished(None, f"{before}, which it comes after, failed"), ""
        if state.deaths >= DEATHS_MAX:
            return Finished(None, f"set aside: it ended its process {state.deaths} times"), "aside"
        if state.attempts > spec.retries:  # its last owner died between the last failure and writing the outcome
            return Finished(None, state.tries.error if state.tries else ""), ""
        return None

    def _begin(self, run: Run) -> None:
        if run.revoked:
            self.finished(run, Finished(None, "it never began"))
        else:
            run.job = self._perform(run)

    def must_wait(self, state: TaskState) -> bool:
        """Whether this task, which saw a process die, may not begin beside another one of its sort."""
        mine = self._poison.deaths(state)
        return mine > 0 and any(must_be_apart(mine, deaths, age_s) for deaths, age_s in self._deadly())

    def company(self) -> frozenset[tuple[int, bool]]:
        """All that `must_wait` looks at among the tasks that run here: as long as it stays the same, so does the answer
        for a task of which nothing new is known."""
        return frozenset((deaths, age_s < APART_S) for deaths, age_s in self._deadly())

    def _deadly(self) -> Iterator[tuple[int, float]]:
        """Of each task that runs here and saw processes die: how many, and for how long it has run."""
        now = self._world.now()
        for task, run in self.running.items():  # some may be forgotten: a handler that was told to end may take days
            if deaths := self._ledger.task(task).deaths:
                yield deaths, now - run.claimed_at

    def cancel(self, task: str) -> None:
        """Somebody called off what we run: none of its effects leaves from now on."""
        run = self._run(task)
        epoch = run.epoch if run is not None else self._ledger.state.tasks[task].epoch
        self._write_done(task, epoch, Finished(None, "it was cancelled"), "cancelled")
        self.revoke(task)

    def park(self, run: Run) -> None:
        """Its handler waits for other tasks."""
        if self.running.get(run.task) is run:
            self._poison.waiting(run.task)
            self._parked[run] = self._parked.get(run, 0) + 1
            self._on_free()

    def unpark(self, run: Run, reply: Callable[[], None]) -> None:
        """One of the waits of its handler is over: reply when it has a slot again, or at once, if it waits still."""
        if self._parked.get(run, 0) > 1:
            self._parked[run] -= 1
            reply()
            return
        self._unparking.append((run, reply))
        self._serve_parked()

    def _serve_parked(self) -> None:
        while self._unparking and (self.free > 0 or self._parked.get(self._unparking[0][0]) != 1):
            run, reply = self._unparking.pop(0)
            waits = self._parked.pop(run, 0)
            if waits > 1:  # it has begun to wait again, meanwhile
                self._parked[run] = waits - 1
            reply()

    def finished(self, run: Run, how: Finished) -> None:
        """An attempt ended. What a superseded run has to say is not written: another replica has the task."""
        if self.running.get(run.task) is not run:
            return
        del self.running[run.task]
        self._parked.pop(run, None)
        superseded, run.revoked = run.revoked, True  # a thread that outlived its attempt must not post any more
        if not superseded:
            if how.again and not self._leaving:
                self._due[run.task] = run
            elif how.again:
                pass  # whoever takes it over starts over
            elif how.ends(run):
                if how.result is not None:
                    self._remember(run)  # in the same turn, hence in the same update, as the outcome
                self._write_done(run.task, run.epoch, how)
            else:
                self._retry(run, how.error)
        elif run in self._interrupted and not self._leaving:
            self._due[run.task] = run
        self._interrupted.discard(run)
        self._serve_parked()
        self.serve_due()  # before any new claim
        self._on_free()

    def serve_due(self) -> None:
        """Begin what waits for a slot, or waited for an order to be undone."""
        for run in list(self._due.values()):
            if self.has_room(run.spec.kind) and self._standing.begins(run.spec.kind):
                self._again(run)

    def interrupt(self, run: Run) -> None:
        """By order: its handler is cancelled, none of its effects leaves. It keeps its claim, and begins again later.

        So what it intended and did not send is not in doubt then: nobody else can have sent it.
        """
        run.revoked = True
        self._interrupted.add(run)
        self._poison.waiting(run.task)  # if our process ends meanwhile, that is no fault of the task
        if run.job is not None:
            run.job.cancel()

    def put_off(self) -> list[str]:
        """The tasks that wait here for another attempt, and those that never end; they do so no longer."""
        endless = [task for task, run in self.running.items() if run.spec.poll is not None and not run.revoked]
        tasks = [*self._retries, *self._due, *endless]
        for task in tasks:
            self.revoke(task)
        return tasks

    def revoke_all(self) -> list[str]:
        """Stop everything. The tasks that ran, or waited for another attempt."""
        tasks = [*self.running, *self._retries, *self._due]
        for task in tasks:
            self.revoke(task)
        return tasks

    def revoke(self, task: str) -> None:
        """Somebody else has the task, or it is done: cancel the handler. Its effects are refused from now on."""
        waiting = self._due.pop(task, None)
        retry = self._retries.pop(task, None)
        if retry is not None:
            waiting = retry[0]
            retry[1].cancel()
        run = self.running.get(task)
        if run is not None and (not run.revoked or run in self._interrupted):
            self._interrupted.discard(run)
            run.revoked = True
            if run.job is not None:
                run.job.cancel()
        else:
            run = waiting
        state = self._ledger.state.tasks.get(task)
        if run is not None and state is not None and state.done is None:
            self._guards.of(run.spec.kind).ended(task, run.epoch)

    def holds(self, task: str, state: TaskState) -> bool:
        """Whether the claim that we run the task under is still good."""
        run = self._run(task)
        return state.done is None and run is not None and self._guards.of(run.spec.kind).holds(task, state, run.epoch)

    def _run(self, task: str) -> Run | None:
        """What runs here, or waits here for its next attempt."""
        run = self.running.get(task) or self._due.get(task)
        return self._retries[task][0] if run is None and task in self._retries else run

    def refresh(self) -> None:
        """Contact made progress: let the guards say anew until when each run may act."""
        for run in self.running.values():
            if run.spec.guard != "available":
                run.until = self._guards.of(run.spec.kind).until(run)

    def leave(self) -> None:
        """No further attempts here: whoever takes the tasks over will make them."""
        self._leaving = True
        for task in [task for task, run in self.running.items() if run.spec.poll is not None]:
            self.revoke(task)  # it would never end
        for _, retry in self._retries.values():
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
        self._retries[run.task] = (run, self._world.call_later(wait_s, lambda: self._again(run)))

    def _again(self, run: Run) -> None:
        state = self._ledger.state.tasks.get(run.task)
        holds = state is not None and self.holds(run.task, state)
        self._retries.pop(run.task, None)
        self._due.pop(run.task, None)
        if not holds:
            return
        if self.has_room(run.spec.kind) and self._standing.begins(run.spec.kind):
            self.start(run.task, run.epoch, run.fence)
        else:
            self._due[run.task] = run

    def _backoff_s(self, attempt: int) -> float:
        """Exponential, with full jitter."""
        cap = min(self._settings.retry_wait_max_s, self._settings.retry_wait_s * 2 ** min(attempt, 30))
        return self._world.rng.uniform(0, cap)

    def _write_done(self, task: str, epoch: int, how: Finished, why: str = "") -> None:
        ok = how.result is not None
        result = how.result if how.result is not None else pack_value(_text(how.error))
        self._ledger.write(Done(task, self._ledger.stamp(), self._me.name, epoch, ok, result, why))


def printable(text: str) -> str:
    """Without the halves of characters that some errors contain, which can be neither stored nor printed."""
    return text.encode("utf-8", "replace").decode()


def _text(error: str) -> str:
    """An error as it can be stored."""
    return printable(error[:ERROR_CHARS_MAX])
