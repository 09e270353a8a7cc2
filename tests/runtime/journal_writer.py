"""A process that writes to a journal until it is told, or killed: `journal_writer.py MODE FOLDER [ROWS]`.

    load    writes until it is killed; a line with the number of a row only once that row is durable
    crash   writes ROWS rows in as many commits, then kills itself
    leave   the same, then ends without closing
    hold    opens, prints a line, waits for the end of its input
    full    writes under a limit on the size of files until the journal fails; a line for each durable row
"""

import os
import queue
import resource
import signal
import sys
from collections.abc import Callable
from functools import partial

from actonce.edge.journal import open_journal
from actonce.journal import Row

FILE_BYTES_MAX = 300_000


def payload(number: int) -> bytes:
    return b"%d:" % number + bytes(number % 200)


def main(mode: str, folder: str, rows: int) -> None:
    calls = queue.SimpleQueue[Callable[[], None]]()
    if mode == "full":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write above the limit is then an error, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))
    errors: list[Exception] = []
    journal, _ = open_journal(folder, agent="kevin", replica="a", post=calls.put, on_error=errors.append)
    if mode == "hold":
        print("open", flush=True)
        sys.stdin.read()
        return
    number = 0
    in_flight = 1 if mode in ("crash", "leave") else 20
    while not errors and (mode in ("load", "full") or number < rows):
        for _ in range(in_flight):
            journal.append([Row("update", payload(number))], partial(print, number, flush=True))
            number += 1
        for _ in range(in_flight):
            calls.get()()
            if errors or calls.empty():
                break
    if mode == "full":
        for _ in range(3):  # after the error nothing is ever acknowledged
            journal.append([Row("update", b"late")], lambda: print("late", flush=True))
        journal.close()
        while not calls.empty():
            calls.get()
        print(f"{type(errors[0]).__name__}: {errors[0]}", flush=True)
    elif mode == "crash":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0)
