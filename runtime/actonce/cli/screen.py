"""What `actonce run` prints: lines of JSON, plain lines, or a live table with lines above it."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import click
from rich.console import Console
from rich.live import Live
from rich.logging import RichHandler
from rich.text import Text

from actonce.cli.show import on_terminal, status_page

LOG_FORMAT = "%(asctime)s %(name)s: %(message)s"


class Screen(Protocol):
    """Where events go."""

    @property
    def wants_status(self) -> bool:
        """Whether `show` is of use."""
        ...

    def event(self, kind: str, sentence: str, **facts: Any) -> None:
        """Something happened: `kind` and `facts` for programs, `sentence` for people."""
        ...

    def show(self, status: dict[str, Any]) -> None:
        """The facts of `/status`, as they are now."""
        ...

    def log_handler(self) -> logging.Handler:
        """Where log records of this process go."""
        ...

    def restore(self) -> None:
        """Give the terminal back, now: the process ends."""
        ...


@contextmanager
def make_screen(name: str, as_json: bool) -> Iterator[Screen]:
    """The screen that suits the output, while it is needed."""
    if as_json or not on_terminal():
        yield _Lines(name, as_json)
        return
    console = Console()
    with Live(console=console, auto_refresh=False) as live:
        yield _Table(name, live)


class _Lines:
    def __init__(self, name: str, as_json: bool) -> None:
        self._name, self._as_json = name, as_json
        self.wants_status = False

    def event(self, kind: str, sentence: str, **facts: Any) -> None:
        line = json.dumps({"event": kind, "replica": self._name, **facts}, ensure_ascii=False)
        try:
            click.echo(line if self._as_json else f"{self._name}: {sentence}")
        except OSError as error:  # nobody reads it, or the disk of a log is full: no reason for a replica to end
            if error.errno == errno.EPIPE:
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def show(self, status: dict[str, Any]) -> None:
        pass

    def log_handler(self) -> logging.Handler:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(LOG_FORMAT))
        return handler

    def restore(self) -> None:
        pass


class _Table:
    def __init__(self, name: str, live: Live) -> None:
        self._name, self._live = name, live
        self.wants_status = True

    def event(self, kind: str, sentence: str, **facts: Any) -> None:
        style = "yellow" if kind == "degraded" else "dim" if kind == "view" else ""
        self._live.console.print(Text(f"{self._name}: {sentence}", style=style))

    def show(self, status: dict[str, Any]) -> None:
        self._live.update(status_page(status), refresh=True)

    def log_handler(self) -> logging.Handler:
        return RichHandler(console=self._live.console, show_path=False)

    def restore(self) -> None:
        # No locks here, which the interrupted code may hold: the bytes that show the cursor again.
        os.write(self._live.console.file.fileno(), b"\x1b[?25h\n")
