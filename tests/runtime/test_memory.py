"""`ctx.memory` of one handler after the other, its limits, and `/memory`."""

from typing import Any

import pytest

from actonce import heal, memory_report
from actonce.agent import Agent
from actonce.context import Context, SyncContext
from actonce.errors import ConfigError, MemoryFull, MemoryInvalid
from actonce.memory import VALUE_BYTES_MAX, WRITES_MAX
from actonce.recall import Recall

from .lab import Lab, run
from .test_http_api import JSON, Api


def agent_of(*bodies: Any) -> Agent:
    """Tasks "0", "1", ...: each does that with the memory and returns what that returns."""
    agent = Agent("kevin")
    for number, body in enumerate(bodies):

        def make(body: Any) -> Any:
            async def handler(ctx: Context, payload: Any) -> Any:
                return body(ctx.memory)

            return handler

        agent.task(str(number), retries=0)(make(body))
    return agent


def outcomes(*bodies: Any, names: str = "a") -> list[tuple[bool, Any]]:
    """Each body is a task, one after the other, on whichever replica; its outcome."""

    async def scenario() -> list[tuple[bool, Any]]:
        lab = Lab(agent_of(*bodies), names)
        await lab.form()
        return [await lab.outcome(str(number)) for number in range(len(bodies))]

    return run(scenario)


def test_what_one_handler_writes_the_next_reads() -> None:
    def write(memory: Recall) -> None:
        memory["mood"] = {"good": True}
        memory.counter("posts").add(3)
        memory.counter("posts").add(-1)
        memory.set("seen").add("x")
        memory.set("seen").add("y")
        memory.map("users")["ada"] = [1]
        memory.list("log").append("one")
        memory.list("log").append("two")

    def read(memory: Recall) -> Any:
        seen, users = memory.set("seen"), memory.map("users")
        assert ("x" in seen, "z" in seen, len(seen), len(users), "ada" in users) == (True, False, 2, 1, True)
        assert (memory.get("none", 7), users.get("bob", 8), "none" in memory, "mood" in memory) == (7, 8, False, True)
        return [memory["mood"], memory.counter("posts").value, list(seen), users["ada"], list(memory.list("log"))]

    assert outcomes(write, read, names="ab")[1] == (True, [{"good": True}, 2, ["x", "y"], [1], ["one", "two"]])


def test_a_handler_sees_its_own_writes_and_nobody_else_does_until_it_succeeds() -> None:
    def fail(memory: Recall) -> None:
        memory["a"] = 1
        memory.counter("n").add(5)
        memory.list("l").append("x")
        memory.set("s").add("x")
        memory.map("m")["f"] = 1
        assert [memory["a"], memory.counter("n").value, list(memory.list("l"))] == [1, 5, ["x"]]
        assert [list(memory.set("s")), list(memory.map("m"))] == [["x"], ["f"]]
        raise ValueError("no")

    def read(memory: Recall) -> Any:
        return [memory.get("a"), memory.counter("n").value, len(memory.list("l")), len(memory.set("s")), "a" in memory]

    assert outcomes(fail, read)[1] == (True, [None, 0, 0, 0, False])


def test_what_is_taken_away_is_gone() -> None:
    def write(memory: Recall) -> None:
        memory["a"] = 1
        memory.set("s").add("x")
        memory.map("m")["f"] = 1

    def erase(memory: Recall) -> None:
        del memory["a"]
        memory.set("s").discard("x")
        memory.set("s").discard("never there")
        del memory.map("m")["f"]
        assert "a" not in memory

    def read(memory: Recall) -> Any:
        with pytest.raises(KeyError):
            memory["a"]
        with pytest.raises(KeyError):
            memory.map("m")["f"]
        with pytest.raises(KeyError):
            del memory["a"]
        with pytest.raises(KeyError):
            del memory.map("m")["f"]
        return ["a" in memory, len(memory.set("s")), len(memory.map("m"))]

    assert outcomes(write, erase, read)[2] == (True, [False, 0, 0])


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        (lambda memory: memory.put("", 1), MemoryInvalid, "the name is"),
        (lambda memory: memory.get("a\0b"), MemoryInvalid, "printable"),
        (lambda memory: memory.get(7), MemoryInvalid, "the name is 7"),
        (lambda memory: memory.put("x" * 201, 1), MemoryInvalid, "201 bytes: the limit is 200"),
        (lambda memory: memory.set("s").add("x" * 257), MemoryInvalid, "the limit is 256"),
        (lambda memory: memory.set("s").add(7), MemoryInvalid, "the member is 7"),
        (lambda memory: memory.put("a", object()), MemoryInvalid, "cannot be remembered"),
        (lambda memory: memory.put("a", "x" * VALUE_BYTES_MAX), MemoryInvalid, "the limit is 65,536"),
        (lambda memory: memory.put("a", 1, ttl="soon"), ConfigError, "write 250ms"),
        (lambda memory: memory.counter("c").add(1.5), MemoryInvalid, "a whole number"),
        (lambda memory: memory.counter("c").add(True), MemoryInvalid, "a whole number"),
        (lambda memory: memory.counter("kept").add(1), MemoryInvalid, "is a register: it cannot be used as a counter"),
        (lambda memory: [memory.list("l").append(n) for n in range(WRITES_MAX + 1)], MemoryFull, "1,000 writes"),
        (lambda memory: [memory.list("l").append("x" * 60_000) for _ in range(150)], MemoryFull, "8,388,608 bytes"),
    ],
)
def test_what_cannot_be_remembered_is_refused_and_changes_nothing(wrong: Any, error: Any, words: str) -> None:
    def write(memory: Recall) -> None:
        memory["kept"] = 1

    def attempt(memory: Recall) -> Any:
        with pytest.raises(error, match=words):
            wrong(memory)
        return memory["kept"]

    assert outcomes(write, attempt)[1] == (True, 1)


def test_concurrent_writers_conflict_until_one_has_seen_both() -> None:
    async def scenario() -> None:
        agent = Agent("kevin")

        @agent.task("write")
        def write(ctx: SyncContext, payload: Any) -> Any:
            seen = [value.value for value in ctx.memory.conflicts("mood")]
            ctx.memory["mood"] = payload
            return seen

        lab = Lab(agent, "ab")
        await lab.form()
        engines = [lab.engine(name) for name in "ab"]
        for engine, text in zip(engines, ("left", "right"), strict=True):
            engine.memory.write([_put(engine, text)], f"by {engine.me.name}")  # in one turn: neither has seen the other
        await lab.sure(lambda: all(list(heal.memory(engine.ledger.state, [])) for engine in engines))
        state, now = engines[0].ledger.state, 0
        (clash,) = heal.memory(state, [])
        assert (clash["name"], {(one["value"], one["by"]) for one in clash["values"]}) == (
            *("mood",),
            {("left", "a"), ("right", "b")},
        )
        assert memory_report.names(state, "mo", now, 9) == [
            {"name": "mood", "shape": "register", "values": 1, "conflicts": 1}
        ]
        api = Api(lab)
        status, found = await api.ask("GET", "/memory/mood")
        assert (status, len(found["conflicts"][0]["values"])) == (200, 2)
        assert sorted((await lab.outcome("write", "both"))[1]) == ["left", "right"]
        assert not list(heal.memory(engines[0].ledger.state, []))
        rows = memory_report.history(engines[0].ledger.state, "mood")
        assert [(row["value"], row["counts"]) for row in rows][-1] == ("both", True)
        assert {row["counts"] for row in rows[:-1]} == {False}

    run(scenario)


def _put(engine: Any, text: str) -> Any:
    from actonce.memory import Put, pack_memory

    return Put("r", "mood", "", pack_memory(text))


def test_a_value_says_where_it_comes_from() -> None:
    def write(memory: Recall) -> Any:
        memory["mood"] = "good"
        return memory.source("mood")

    def read(memory: Recall) -> Any:
        found = memory.source("mood")
        assert found is not None
        return [found.value, found.replica, found.task, found.at > 1_700_000_000, memory.source("nothing")]

    assert outcomes(write, read) == [(True, None), (True, ["good", "a", "0/k", True, None])]


def test_the_number_of_places_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actonce.memory.PLACES_MAX", 3)

    def write(memory: Recall) -> Any:
        memory["a"] = 1
        memory.set("s").add("x")
        memory.counter("c").add()
        with pytest.raises(MemoryFull, match="0 of 3 places: take something away first"):
            memory.map("m")["f"] = 1

    assert outcomes(write) == [(True, None)]


def test_a_field_of_a_map_expires_alone() -> None:
    async def scenario() -> None:
        def write(memory: Recall) -> None:
            memory.map("m").put("soon", 1, ttl="5s")
            memory.map("m")["ever"] = 2

        lab = Lab(agent_of(write, lambda memory: list(memory.map("m"))), "a")
        await lab.form()
        assert (await lab.outcome("0"))[0]
        assert await lab.outcome("1") == (True, ["ever", "soon"])
        await lab.until(lambda: False, 6.0)
        assert await lab.outcome("1", key="later") == (True, ["ever"])

    run(scenario)


def test_what_expires_is_forgotten() -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(lambda memory: memory.get("note")), "a")
        await lab.form()
        api = Api(lab)
        assert (await api.ask("POST", "/memory/note", {"value": 1, "ttl": 5}, headers=JSON))[0] == 200
        assert (await api.ask("GET", "/memory/note"))[1]["value"] == 1
        await api.lab.until(lambda: False, 6.0)
        assert await api.lab.outcome("0") == (True, None)
        assert (await api.ask("GET", "/memory/note"))[0] == 404
        assert (await api.ask("GET", "/memory"))[1] == []
        assert (await api.ask("GET", "/memory/note", query={"history": "1"}))[1][0]["value"] == 1

    run(scenario)


def test_orders_over_http() -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(), "ab")
        await lab.form()
        api = Api(lab)
        assert await api.ask("POST", "/memory/a b/c", {"value": [1]}, headers=JSON) == (
            *(200,),
            {"name": "a b/c", "state": "remembered"},
        )
        assert (await api.ask("POST", "/memory/users", {"value": 1, "field": "ada"}, headers=JSON))[0] == 200
        assert (await api.ask("GET", "/memory/users"))[1]["value"] == {"ada": 1}
        rows = (await api.ask("GET", "/memory", query={"prefix": "u"}))[1]
        assert rows == [{"name": "users", "shape": "map", "values": 1, "conflicts": 0}]
        gone = await api.ask("POST", "/memory/users", {"remove": True, "field": "ada"}, headers=JSON)
        assert gone == (200, {"name": "users", "state": "forgotten"})
        assert (await api.ask("GET", "/memory/users"))[0] == 404
        assert (await api.ask("GET", "/memory/nothing"))[0] == 404

    run(scenario)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        ([], "the body is"),
        ({}, "the body is"),
        ({"value": 1, "remove": True}, "the body is"),
        ({"value": 1 << 70}, "cannot be remembered"),
        ({"value": 1, "ttl": "soon"}, "ttl: "),
        ({"value": 1, "field": 7}, "the field is 7"),
        ({"remove": True}, "nothing is remembered"),
    ],
)
def test_wrong_orders_are_explained(body: Any, words: str) -> None:
    async def scenario() -> None:
        lab = Lab(agent_of(), "a")
        await lab.form()
        status, answer = await Api(lab).ask("POST", "/memory/x", body, headers=JSON)
        assert status == 400
        assert words in answer["error"]
        assert not lab.engine("a").ledger.state.cells

    run(scenario)
