"""Proof that a process is gone, and nothing less."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from actonce.edge import host
from actonce.world import ProcessId

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="proof needs /proc")
WAIT_S = 20


def child() -> tuple["subprocess.Popen[bytes]", ProcessId]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    return process, ProcessId(host.this_process().host, process.pid, host._started(process.pid))


def test_we_are_not_gone() -> None:
    me = host.this_process()
    assert me.pid == os.getpid()
    assert me.host
    assert not host.is_gone(me, me)


def test_a_killed_process_is_gone_even_before_it_was_waited_for() -> None:
    me = host.this_process()
    process, its = child()
    assert not host.is_gone(its, me)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert host.is_gone(its, me), "a zombie acts no more"
    process.communicate(timeout=WAIT_S)
    assert host.is_gone(its, me)


def test_a_reused_pid_is_another_process() -> None:
    me = host.this_process()
    assert host.is_gone(dataclasses.replace(me, started=me.started - 1), me)


@pytest.mark.parametrize("elsewhere", ["", "another boot or another namespace"])
def test_of_other_hosts_nothing_is_known(elsewhere: str) -> None:
    me = host.this_process()
    assert not host.is_gone(ProcessId(elsewhere, 2**22 + 1, 0), me)
    assert not host.is_gone(ProcessId("", 2**22 + 1, 0), dataclasses.replace(me, host=""))


def test_the_process_of_another_user_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", kill)
    me = host.this_process()
    assert not host.is_gone(dataclasses.replace(me, started=0), me)


def test_names_with_spaces_and_parentheses(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = " ".join(["S", *map(str, range(4, 22)), "777", "23"])
    monkeypatch.setattr(Path, "read_text", lambda self: f"1 (a) R (b 1) {fields}")
    assert host._started(1) == 777
    monkeypatch.setattr(Path, "read_text", lambda self: f"1 (x) Z {fields}")
    assert host._started(1) == -1
