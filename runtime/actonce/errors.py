"""What can go wrong, as one tree. Each message is one sentence: what happened and, where there is one, what to do.

    ActonceError
    ├── ConfigError            an option, a module or a file that the user named is not usable
    ├── NameTaken              another live journal already runs under this replica's name
    ├── UnknownKind            no handler is registered for this kind of task
    ├── PayloadInvalid         the payload, effect body or result is not JSON-like
    ├── PayloadTooLarge        ... or has more bytes than the limit that the message names
    ├── PollInvalid            a polled source returned what cannot be taken in
    ├── KeyReused              one key, two different payloads or effect bodies
    ├── NotSettled             this replica may not act or accept yet; it said why
    ├── NoSuchTask             no task of this id is known here
    ├── NoSuchTarget           an order for a kind or a replica that nobody has heard of
    ├── Draining               new tasks are refused, by order
    ├── NotConfirmed           an emergency stop that not everybody has confirmed so far
    ├── WrongState             the task is not in a state in which this can be done with it
    ├── TaskFailed             the task ended without a result: its last error
    ├── StepsChanged           the steps that are remembered of a task do not fit its handler any more
    ├── EffectFailed           an effect was refused for good, or its retries are used up
    ├── RosterRefused          the roster cannot be changed like that, or not now
    ├── QuotaError
    │   ├── QuotaBusy          nothing is free, and the caller would not wait
    │   └── QuotaTimeout       nothing came free within the caller's time limit
    ├── GateClosed             an effect may not leave now: superseded, or out of contact
    ├── SinkError
    │   ├── SinkRefused        surely not done
    │   └── SinkUnknown        may have been done: a doubt
    ├── MessageInvalid         a peer's frame is no message of this protocol
    ├── ReplicaFailed          the replica stopped on an error of its own; nothing more is acknowledged
    └── JournalError
        ├── JournalInUse       another process holds it
        ├── JournalForeign     it belongs to another agent or replica
        ├── JournalTooNew      a later version of Actonce wrote it
        ├── JournalTooOld      an earlier version wrote it, in a format that this one does not read
        ├── JournalDamaged     its content is not what was written
        ├── JournalUnreadable  permissions, not a journal, a read-only disk
        ├── ExportRefused      a file to import is damaged, of another agent or of another version
        └── JournalFailed      a write failed; nothing after it was kept or acknowledged

Errors of other libraries are translated once, at the edge, and never cross it. Errors of the document and of the
transports have their own roots, `actonce_crdt.CrdtError` and `actonce_transports.TransportError`.
"""

from __future__ import annotations


class ActonceError(Exception):
    """Root of all errors that a user of Actonce can meet."""


class ConfigError(ActonceError):
    """An option, a module or a file that the user named cannot be used."""


class NameTaken(ActonceError):
    """Another replica with another journal is already live in the mesh under this name."""


class UnknownKind(ActonceError):
    """No handler of the agent is registered for this kind of task."""


class PayloadInvalid(ActonceError):
    """A payload, an effect body or a result is not JSON-like. The message names the place, as `payload.items[3]`."""


class PayloadTooLarge(ActonceError):
    """A payload, an effect body or a result has more bytes than its limit, which the message names."""


class PollInvalid(ActonceError):
    """A polled source did not answer, or returned what cannot be taken in."""


class KeyReused(ActonceError):
    """A task key, or the key of an effect within its task, was used before with other content."""


class MemoryInvalid(ActonceError):
    """A name or a value cannot be remembered. The message says why."""


class MemoryFull(ActonceError):
    """A limit of the memory would be passed, which the message names. Nothing was written."""


class NotSettled(ActonceError):
    """This replica has not yet learnt enough from the others to act or to acknowledge."""


class NotAMember(ActonceError):
    """This replica only follows: it takes in no tasks and no orders, and changes nothing."""


class NoSuchTask(ActonceError):
    """No task of this id is known to this replica."""


class NoSuchTarget(ActonceError):
    """An order for a kind of task, or a replica, that nobody has heard of. The message lists those that there are."""


class Draining(ActonceError):
    """New tasks are refused, because somebody ordered to drain the agent or this kind of task."""


class NotConfirmed(ActonceError):
    """An emergency stop that not every replica in play has confirmed within the time limit. The order stands.

    `missing` has the names of those that have not; the message says why.
    """

    def __init__(self, reason: str, missing: tuple[str, ...]) -> None:
        super().__init__(reason)
        self.missing = missing


class WrongState(ActonceError):
    """An order that makes no sense for the state of its task. The message says which state that is."""


class TaskFailed(ActonceError):
    """The task ended without a result. The message is the handler's last error."""


class StepsChanged(ActonceError):
    """What is remembered of a task's steps does not fit its handler: other code, or one that is not deterministic."""


class EffectFailed(ActonceError):
    """An effect did not happen and will not be tried again: refused for good, or out of retries."""


class QuotaError(ActonceError):
    """A quota gave no right to go ahead. Nothing is reserved."""


class QuotaBusy(QuotaError):
    """Nothing is free at this moment, and the caller said `nowait`."""


class QuotaTimeout(QuotaError):
    """Nothing came free within the caller's `timeout`. The message says what was in the way."""


class GateClosed(ActonceError):
    """An effect may not leave now: another replica has the task, or contact with the others is stale."""


class RosterRefused(ActonceError):
    """The roster of voters cannot be changed like that, or not now."""


class SinkError(ActonceError):
    """A sink did not return a receipt."""


class SinkRefused(SinkError):
    """The effect was surely not done.

    `retry_after_s` is how long the sink asked us to wait, where it did; `permanent` says that the same request
    can never succeed.
    """

    def __init__(self, reason: str, retry_after_s: float | None = None, permanent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.permanent = permanent


class SinkUnknown(SinkError):
    """The effect may have been done, or may still be done: nobody here can know. This is what a *doubt* is."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class MessageInvalid(ActonceError):
    """Bytes from a peer are no message of this protocol."""


class ReplicaFailed(ActonceError):
    """The replica stopped on an error of its own. What it acknowledged is on disk; it acknowledges nothing more."""


class JournalError(ActonceError):
    """The journal of a replica cannot be used."""


class JournalInUse(JournalError):
    """Another live process holds this journal."""


class JournalForeign(JournalError):
    """The journal belongs to another agent or to another replica."""


class JournalTooNew(JournalError):
    """The journal was written by a later version of Actonce."""


class JournalTooOld(JournalError):
    """The journal was written by an earlier version of Actonce, in a format that this one does not read."""


class JournalDamaged(JournalError):
    """The content of the journal is not what was once written. Names the first bad row, and says what to do."""

    def __init__(self, message: str, what: str) -> None:
        super().__init__(message)
        self.what = what
        """What is damaged, without the advice."""


class JournalUnreadable(JournalError):
    """The journal cannot be read or written here: permissions, not a journal, a read-only disk."""


class ExportRefused(JournalError):
    """A file to import is no export, is damaged, or is of another agent or version. Nothing changed."""


class JournalFailed(JournalError):
    """A write failed, as on a full disk. Nothing after it was kept, or acknowledged."""
