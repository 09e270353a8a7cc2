"""This process and others on this host: who they are, and proof that they are gone."""

from __future__ import annotations

import os
from pathlib import Path

from actonce.world import ProcessId


def this_process() -> ProcessId:
    """Ourselves. Where the system does not tell boot, namespace and start time, nobody can ever prove our death."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
        started = _started(os.getpid())
    except OSError:
        return ProcessId("", os.getpid(), 0)
    return ProcessId(f"{boot} {namespace}", os.getpid(), started)


def is_gone(process: ProcessId, here: ProcessId) -> bool:
    """Whether `process` has certainly ended. False for another host, another pid namespace, or no evidence."""
    if not process.host or process.host != here.host:
        return False
    if process.pid <= 0:
        return False  # these mean groups of processes
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False  # it is there, and not ours; or no number of a process at all
    try:
        return _started(process.pid) != process.started
    except OSError:
        return False  # ended in between, or hidden: the next look will tell


def _started(pid: int) -> int:
    """Start time in clock ticks since boot; -1 for a zombie, whose threads act no more."""
    # The name, in parentheses, may hold spaces and parentheses: fields count from the last one. See proc(5).
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return -1 if fields[0] in "ZX" else int(fields[19])
