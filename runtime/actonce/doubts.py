"""Effects of which nobody knows whether they happened, and the people who are asked about them.

A handler whose kind says `on_doubt="ask"` waits for the answer as for children: it holds no slot, its timeout stands
still, and if its replica dies, whoever takes the task over waits instead. The question and the answer are entries, so
that an answer given at any replica reaches whoever waits, now or after a partition. Of two answers the one that sends
nothing counts. An answer is good for one sending: if that ends in doubt again, the question is asked again.

Also listed, though no handler waits: what was in doubt when its task failed or was called off. The answer stands then
for whoever tries that task again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from actonce.errors import NoSuchTask, WrongState
from actonce.executor import Executor
from actonce.inbox import Inbox, Submitted
from actonce.ledger import Ledger
from actonce.outbox import Outbox, is_open
from actonce.running import Run
from actonce_crdt import Doubt, EffectState

ANSWERS = {"posted": "posted", "resend": "resend", "skip": "skipped"}
"""What a person may say -> how it is written down."""
SENT = ("sending", None)


@dataclass(frozen=True, slots=True)
class Open:
    """A doubt that is not settled."""

    key: str
    effect: EffectState
    waits: str
    """For whom: "person", "retry" (its task is over), "sending" (a person said so)."""


class Doubts:
    """Questions to people, and their answers, at one replica."""

    def __init__(self, name: str, ledger: Ledger, inbox: Inbox, outbox: Outbox, executor: Executor) -> None:
        self._name, self._ledger, self._inbox, self._outbox, self._executor = name, ledger, inbox, outbox, executor
        self._asking: list[tuple[Run, str, Callable[[], None]]] = []

    def ask(self, run: Run, key: str, reply: Callable[[None], None]) -> Callable[[], None]:
        """Reply once somebody knows, and a slot is free; or when the task was taken over.

        Returns how to stop waiting.
        """
        self._outbox.opened(run, key)
        self._executor.park(run)
        asking = (run, key, lambda: reply(None))
        self._asking.append(asking)
        self.changed()

        def stop() -> None:
            if asking in self._asking:
                self._asking.remove(asking)
                self._executor.unpark(run, _nothing)

        return stop

    def changed(self) -> None:
        """Entries came, or a task was taken over."""
        effects = self._ledger.state.effects
        over = [one for one in self._asking if one[0].revoked or not is_open(effects.get(one[1]))]
        if over:
            self._asking = [one for one in self._asking if one not in over]
            for run, _, reply in over:
                if run.revoked:
                    reply()
                else:
                    self._executor.unpark(run, reply)

    def of(self, task: str) -> list[str]:
        """Effects that this task, which runs, waits for a person with."""
        return sorted(key for run, key, _ in self._asking if run.task == task)

    def open(self) -> Iterator[Open]:
        """All that are not settled, by key."""
        for key in sorted(self._ledger.state.effects):
            effect = self._ledger.state.effects[key]
            waits = self._waits(effect)
            if waits:
                yield Open(key, effect, waits)

    def _waits(self, effect: EffectState) -> str:
        if effect.receipt is not None or effect.intent is None:
            return ""
        word = effect.doubt.settled if effect.doubt is not None else None
        state = self._ledger.state.tasks.get(effect.intent.task)
        over = state is not None and state.done is not None
        if word == "resend":
            return "retry" if over else "sending"
        if word == "open":
            return "person"
        return "person" if over and word in SENT else ""

    def resolve(self, key: str, answer: str, reply: Callable[[str], None]) -> None:
        """A person says: it was posted; send it again, once; or give it up. Replies as `Orders` do, with the answer.

        Raises:
            NoSuchTask: no such effect is known here.
            WrongState: it is not in doubt; or it is to be sent again on behalf of a task that is done.
        """
        effect = self._ledger.state.effects.get(key)
        if effect is None or effect.intent is None:
            raise NoSuchTask(f"no effect {key!r} is known here: see `actonce doubts list`")
        waits, task = self._waits(effect), effect.intent.task
        if waits != "person" and not (waits and answer != "resend"):
            raise WrongState(f"effect {key!r} is not in doubt: {described(effect)}")
        state = self._ledger.state.tasks.get(task)
        if answer == "resend" and state is not None and state.done is not None and state.done.ok:
            raise WrongState(f"task {task!r} is done: nobody would send its effect {key!r}")
        known, stamp = effect.doubt, self._ledger.stamp()
        epoch, count = (known.epoch, known.round) if known is not None else (effect.intent.epoch, 0)
        clock = self._ledger.write(Doubt(key, stamp, self._name, epoch, ANSWERS[answer], count))
        self._inbox.when_kept(clock, Submitted(task, new=False), lambda kept: reply(ANSWERS[answer]))


def described(effect: EffectState) -> str:
    """The state of an effect, for people."""
    if effect.receipt is not None:
        return "posted"
    word = effect.doubt.settled if effect.doubt is not None else "sending"
    return {"open": "in doubt", "sending": "under way", "resend": "to be sent again"}.get(word, word)


def _nothing() -> None:
    pass
