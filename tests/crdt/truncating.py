"""Removals alone, as no replica makes them: `Document.compact` always appends. For tests of the document itself."""

from actonce_crdt import Change, Delta, Document


def truncate(document: Document, log: str, count: int) -> Change:
    """Remove the front of a log. Raises ValueError when it has fewer entries."""
    front = document.front(log, count)
    if count < 0 or len(front) < count:
        raise ValueError(f"cannot remove {count} entries of log {log!r}: it has {len(front)}")
    prefixes = {client: clock + 1 for client, clock in front}
    document._check_sound()
    known, deleted = document.state_vector(), document._chains.deleted
    deltas = (
        Delta(client, log, known[client], known[client], deleted[client], prefix, ())
        for client, prefix in prefixes.items()
    )
    return document._apply(tuple(deltas))
