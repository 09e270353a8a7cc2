"""A process that writes the entries of a document to a journal: `document_writer.py FOLDER COMMITS kill|close`.

Prints "written UPDATE" before it hands an update, as hex, to the journal, and "durable UPDATE" once it is told so.
"kill" ends the process with SIGKILL after the last one. A journal that fails is the last line of stderr.
"""

import os
import queue
import signal
import sys
from collections.abc import Callable

from actonce.edge.journal import open_journal
from actonce.errors import JournalError
from actonce.journal import Row
from actonce_crdt import Document


def main(folder: str, commits: int, end: str) -> None:
    calls = queue.SimpleQueue[Callable[[], None]]()
    errors: list[JournalError] = []
    try:
        journal, recovered = open_journal(folder, agent="kevin", replica="a", post=calls.put, on_error=errors.append)
    except JournalError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    document = Document("a", int.from_bytes(os.urandom(6)))
    for update in recovered.updates:
        document.integrate(update)
    for number in range(commits):
        update = document.append([b"entry %d of %d: " % (number, document.client_id) + bytes(number * 31 % 900)]).update

        def durable(update: bytes = update) -> None:
            print("durable", update.hex(), flush=True)

        print("written", update.hex(), flush=True)
        journal.append([Row("update", update)], durable)
        calls.get()()
        if errors:
            journal.close()
            sys.exit(f"{type(errors[0]).__name__}: {errors[0]}")
    if end == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    journal.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
