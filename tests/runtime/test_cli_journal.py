"""`actonce journal`: on files, and on real replicas that are killed, damaged, wiped and made anew from a file."""

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result
from tests.lab.support import wait_until

from actonce.cli.main import commands
from actonce.edge.journal import open_journal
from actonce.journal import VIEW, Row

from .documents import fail, killed, written
from .test_cli_processes import Process, actonce

WAIT_S = 60.0
AGENT = """
import os
from actonce import Agent, Context
agent = Agent("kevin")

@agent.task("note")
async def note(ctx: Context, text: str) -> str:
    with open("ran", "a") as file:
        file.write(text + chr(10))
    return text.upper()
"""


def journal(*arguments: object) -> Result:
    return CliRunner().invoke(commands, ["journal", *map(str, arguments)])


def facts(*arguments: object) -> dict[str, Any]:
    result = journal(*arguments, "--json")
    assert result.exit_code in (0, 1), result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def refused(*arguments: object) -> str:
    """The one sentence with which a command ends that did nothing."""
    result = journal(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("actonce: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("lock", "journal.db-shm")  # who looks leaves traces in these
    }


@pytest.mark.parametrize("command", ["check", "repair", "export", "backup", "import"])
def test_help_teaches(command: str) -> None:
    text = journal(command, "--help").output
    assert "Example: actonce journal " + command in text
    assert "--json" in text
    assert "replica" in text


def test_a_whole_journal(tmp_path: Path) -> None:
    written(tmp_path / "a", 5)
    before = tree(tmp_path)
    found = facts("check", "--data", tmp_path / "a")
    assert (found["damage"], found["agent"], found["replica"], found["entries"]) == ("", "kevin", "a", 5)
    assert "is whole: 7 rows" in journal("check", "--data", tmp_path / "a").output
    assert "nothing was changed" in journal("repair", "--data", tmp_path / "a").output
    assert tree(tmp_path) == before


def test_a_damaged_journal_is_named_then_repaired_for_a_rejoin(tmp_path: Path) -> None:
    killed(tmp_path / "a", 9)
    log = tmp_path / "a" / "journal.db-wal"
    os.truncate(log, log.stat().st_size - 5000)
    before = tree(tmp_path)
    found = facts("check", "--data", tmp_path / "a")
    assert "were on the disk and are gone" in found["damage"]
    assert found["lost"].startswith("row")
    assert journal("check", "--data", tmp_path / "a").exit_code == 1
    assert tree(tmp_path) == before
    repaired = facts("repair", "--data", tmp_path / "a")
    assert repaired["lost"] == found["lost"]
    assert repaired["journal"] != repaired["replaces"] == found["journal"]
    assert 0 < repaired["updates"] < 9
    after = facts("check", "--data", tmp_path / "a")
    assert (after["damage"], after["journal"]) == ("", repaired["journal"])
    assert after["set_aside"] == [str(tmp_path / "a" / "damaged-1")]
    opened, recovered = open_journal(
        tmp_path / "a", agent="kevin", replica="a", post=lambda call: None, on_error=fail, rejoin=False
    )
    opened.close()
    assert (recovered.new, recovered.view) == (False, None)
    assert "is kept in" in recovered.damage


def test_a_loss_is_accepted_only_by_a_word(tmp_path: Path) -> None:
    written(tmp_path / "a", 3)
    append_view(tmp_path / "a")
    (tmp_path / "a" / "mark").write_bytes(b"")
    assert facts("repair", "--data", tmp_path / "a", "--accept-loss")["alone"]
    opened, recovered = open_journal(tmp_path / "a", agent="kevin", replica="a", post=lambda call: None, on_error=fail)
    opened.close()
    assert (recovered.new, recovered.view, len(recovered.updates)) == (True, None, 3)


def append_view(folder: Path) -> None:
    opened, _ = open_journal(folder, agent="kevin", replica="a", post=lambda call: None, on_error=fail)
    opened.append([Row(VIEW, b"view")], lambda: None)
    opened.close()


def test_where_damage_hides_whose_it_is_the_name_is_asked_for(tmp_path: Path) -> None:
    written(tmp_path / "a", 3)
    (tmp_path / "a" / "journal.db").write_bytes(bytes(8192))
    before = tree(tmp_path)
    assert "--agent NAME and --name NAME" in refused("repair", "--data", tmp_path / "a")
    assert "'A B' cannot name" in refused("repair", "--data", tmp_path / "a", "--agent", "A B", "--name", "a")
    assert tree(tmp_path) == before
    repaired = facts("repair", "--data", tmp_path / "a", "--agent", "kevin", "--name", "a")
    assert (repaired["updates"], repaired["lost"]) == (0, "rows 1 to 5")


def test_a_file_goes_from_one_disk_to_another(tmp_path: Path) -> None:
    written(tmp_path / "a", 6)
    append_view(tmp_path / "a")
    made = facts("export", tmp_path / "state", "--data", tmp_path / "a")
    assert (made["agent"], made["entries"], made["updates"]) == ("kevin", 6, 6)
    taken = facts("import", tmp_path / "state", "--data", tmp_path / "b", "--agent", "kevin", "--name", "b")
    assert taken["digest"] == made["digest"]
    found = facts("check", "--data", tmp_path / "b")
    assert (found["digest"], found["replica"]) == (made["digest"], "b")
    other = ("--data", tmp_path / "c", "--agent", "kevin", "--name", "c")
    renewed = facts("import", tmp_path / "state", *other, "--renew")
    assert renewed["digest"] == made["digest"]
    assert facts("check", "--data", tmp_path / "c")["digest"] == made["digest"]
    assert found["journal"] != made["journal"]
    opened, recovered = open_journal(tmp_path / "b", agent="kevin", replica="b", post=lambda call: None, on_error=fail)
    opened.close()
    assert (recovered.new, recovered.view, recovered.damage) == (True, None, "")


def test_bad_input_is_one_sentence_and_nothing_changes(tmp_path: Path) -> None:
    written(tmp_path / "a", 3)
    data = ("--data", tmp_path / "a")
    assert journal("export", tmp_path / "state", *data).exit_code == 0
    state = (tmp_path / "state").read_bytes()
    lines = state.splitlines(keepends=True)
    (tmp_path / "cut").write_bytes(state[:-30])
    (tmp_path / "less").write_bytes(b"".join(lines[:2] + lines[3:]))
    (tmp_path / "flipped").write_bytes(state.replace(lines[2][:1], b"%"))
    (tmp_path / "newer").write_bytes(state.replace(b'"actonce export": 1', b'"actonce export": 2', 1))
    (tmp_path / "text").write_text("shopping: milk, eggs")
    (tmp_path / "list").write_text("[1, 2]\n")
    (tmp_path / "empty").write_text("")
    damaged = tmp_path / "damaged"
    written(damaged, 3)
    (damaged / "mark").unlink()
    before = tree(tmp_path)
    new = ("--data", tmp_path / "new", "--name", "b")
    kevin = ("--agent", "kevin")
    for arguments, sentence in (
        (("check", "--data", tmp_path / "nowhere"), "there is no journal in"),
        (("repair", "--data", tmp_path / "state"), "there is no journal in"),
        (("export", tmp_path / "state", *data), "is there already"),
        (("export", tmp_path / "no" / "folder", *data), "cannot be written: No such file"),
        (("export", tmp_path / "x", "--data", damaged), "mark is gone"),
        (("backup", tmp_path / "x", "--data", tmp_path / "nowhere"), "there is no journal in"),
        (("import", tmp_path / "gone", *new, *kevin), "cannot be read: No such file"),
        (("import", tmp_path / "state", *new, "--agent", "other"), "of agent 'kevin', not of 'other'"),
        (("import", tmp_path / "newer", *new, *kevin), "(export format 2, this one reads 1)"),
        (("import", tmp_path / "text", *new, *kevin), "was not made by"),
        (("import", tmp_path / "list", *new, *kevin), "was not made by"),
        (("import", tmp_path / "empty", *new, *kevin), "was not made by"),
        (("import", tmp_path / "cut", *new, *kevin), "is damaged or was cut off"),
        (("import", tmp_path / "less", *new, *kevin), "is damaged or was cut off"),
        (("import", tmp_path / "flipped", *new, *kevin), "is damaged or was cut off"),
        (("import", tmp_path / "state", *data, *kevin, "--name", "a"), "nothing is overwritten"),
        (("import", tmp_path / "state", *new[:2], *kevin, "--name", "B!"), "cannot name a replica"),
    ):
        assert sentence in refused(*arguments)
    assert tree(tmp_path) == before


@contextlib.contextmanager
def replica(folder: Path, name: str, *arguments: str) -> Iterator[tuple[Process, str]]:
    """A real replica, once it has settled, and its address."""
    command = ("run", "bot:agent", "--name", name, "--listen", "127.0.0.1:0", "--json", *arguments)
    with actonce(folder, *command) as process:
        at = json.loads(process.until('"listening"'))["address"]
        process.until('"settled"')
        yield process, at


def leave(*processes: Process) -> None:
    for process in processes:
        process.process.send_signal(signal.SIGTERM)
        assert process.ended()[0] == 0


def submit(at: str, keys: list[str]) -> None:
    for key in keys:
        result = CliRunner().invoke(
            commands, ["submit", "note", json.dumps(key), "--key", key, "--at", at, "--wait", "30"]
        )
        assert result.exit_code == 0, result.output


def status(at: str) -> dict[str, Any]:
    with httpx.Client(base_url=f"http://{at}", trust_env=False, timeout=WAIT_S) as client:
        found: dict[str, Any] = client.get("/status").json()
        return found


def until_equal(*addresses: str) -> str:
    """The digest that all of them come to have."""
    digests: set[str] = set()

    def equal() -> bool:
        digests.clear()
        digests.update(status(at)["document"]["digest"] for at in addresses)
        return len(digests) == 1

    wait_until(equal, WAIT_S)
    return digests.pop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bot.py").write_text(AGENT)
    return tmp_path


def ran(folder: Path) -> list[str]:
    return sorted((folder / "ran").read_text().split())


def test_a_damaged_replica_rejoins_and_a_mesh_is_made_anew_from_a_file(folder: Path) -> None:
    """b is killed, the end of its log is cut off: it names that, and refetches what it lost. Then all is exported, all
    disks are wiped, one imports it: equal digests, and nothing runs twice."""
    keys, data = [f"k{number}" for number in range(5)], folder / "actonce-data"
    with replica(folder, "a", "--new") as (a, at):
        with replica(folder, "b", "--join", at) as (b, _):
            submit(at, keys[:4])
            b.process.kill()
            b.ended()
        log = data / "b" / "journal.db-wal"
        os.truncate(log, log.stat().st_size // 2)
        with replica(folder, "b", "--join", at) as (b, other):
            said = status(other)["degraded"]
            assert any("the journal was damaged" in fact for fact in said), said
            submit(other, keys)
            digest = until_equal(at, other)
            assert facts("backup", folder / "backup", "--data", data / "a")["digest"] == digest
            assert "stop it first, or use" in refused("export", folder / "state", "--data", data / "a")
            leave(b)
        leave(a)
    assert (data / "b" / "damaged-1").is_dir()
    assert ran(folder) == keys
    assert facts("export", folder / "state", "--data", data / "b")["digest"] == digest
    shutil.rmtree(data)
    facts("import", folder / "state", "--data", data / "a", "--agent", "kevin", "--name", "a")
    with replica(folder, "a", "--new") as (_, at), replica(folder, "b", "--join", at) as (_, other):
        assert until_equal(at, other) == digest
        submit(other, keys)
        submit(at, [*keys, "k5"])
        assert ran(folder) == [*keys, "k5"]
