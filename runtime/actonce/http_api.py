"""What a replica answers on its port besides its peers: health, reports, `POST /submit`. Runs on the engine's thread,
so that it answers while handlers block."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

import anyio

from actonce import control_report, effect_report, election_report, heal, http_memory, metrics, quota_report, reporting
from actonce.control import Ordered
from actonce.doubts import ANSWERS
from actonce.engine import Engine
from actonce.errors import (
    ActonceError,
    Draining,
    KeyReused,
    MemoryFull,
    MemoryInvalid,
    NoSuchTarget,
    NoSuchTask,
    PayloadInvalid,
    PayloadTooLarge,
    RosterRefused,
    UnknownKind,
    WrongState,
)
from actonce.inbox import Submitted, pack_payload
from actonce.readiness import make_terms
from actonce.webhooks import EventRefused, hook_token, read_event
from actonce_crdt import Done, Switch, unpack_value
from actonce_transports import HttpRequest, HttpResponse

ROWS_DEFAULT = 100
ROWS_MAX = 10_000
RESULT_WAIT_S_MAX = 60.0
ROSTER_WAIT_S = 10.0
HOOK = "/hook/"
PAGES = (
    "GET /status, /metrics, /tasks, /dead, /posts, /doubts, /schedules, /quota, /memory, /memory/NAME, /explain/TASK, "
    "/result/TASK, /roster, /control, /report, /healthz, /readyz; POST /submit, /hook/PATH, /cancel/TASK, "
    "/retry/TASK, /drop/TASK, /doubts/EFFECT, /memory/NAME, /roster, /control, /quota/found"
)
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


def http_token(secret: bytes) -> str:
    """The bearer token of a mesh: whoever can make it knows the secret."""
    return hmac.digest(secret, b"actonce http", hashlib.sha256).hex()


class HttpApi:
    """Answers plain HTTP requests for one engine.

    With a secret every request but the health checks needs `Authorization: Bearer <http_token>`; for a webhook its own
    token (`webhooks.hook_token`) does as well. Without one only
    programs on this host can connect; a browser is kept out by the Host header and the content type.
    """

    def __init__(self, engine: Engine, secret: bytes | None = None) -> None:
        self._engine = engine
        self._secret = secret
        self._token = http_token(secret) if secret is not None else None

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == "/healthz":
            facts = election_report.minority(self._engine)
            return _answer(200, {"ok": not self._engine.gate.shut, **({"degraded": facts} if facts else {})})
        if request.path == "/readyz":
            return self._ready()
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        if self._engine.follow and request.method == "POST":
            return _error(409, str(self._engine.spread.refusal()))
        match request.method, request.path.removeprefix("/").split("/", 1):
            case "GET", ["status"]:
                return _answer(200, reporting.status(self._engine))
            case "GET", ["metrics"]:
                found = metrics.metrics(self._engine)
                return HttpResponse(200, found.encode(), {"Content-Type": metrics.CONTENT_TYPE})
            case "GET", ["tasks"]:
                return _answer(200, reporting.tasks(self._engine, request.query.get("state"), _limit(request)))
            case "GET", ["schedules"]:
                return _answer(200, reporting.schedules(self._engine))
            case "GET", ["posts"]:
                return _answer(200, reporting.posts(self._engine, _limit(request)))
            case "GET", ["dead"]:
                return _answer(200, effect_report.dead(self._engine, _limit(request)))
            case "GET", ["doubts"]:
                settled = request.query.get("all", "0") not in ("", "0")
                return _answer(200, effect_report.doubts(self._engine, _limit(request), settled=settled))
            case "POST", ["doubts", effect]:
                return await self._resolve(request, effect)
            case "GET", ["quota"]:
                return _answer(200, quota_report.quotas(self._engine))
            case "GET", ["explain", task]:
                story = reporting.explain(self._engine, task)
                return _answer(200, story) if story is not None else _error(404, f"no task {task!r} is known here")
            case "GET", ["result", task]:
                return await self._result(task, request.query.get("wait", "0"))
            case "GET", ["roster"]:
                return _answer(200, election_report.roster_facts(self._engine))
            case "GET", ["memory", *name]:
                return _answer(*http_memory.look(self._engine, "".join(name), request.query, _limit(request)))
            case "POST", ["memory", name]:
                return await self._remember(request, name)
            case "GET", ["report"]:
                return _answer(200, heal.report(self._engine.ledger.state))
            case "GET", ["control"]:
                return _answer(200, control_report.orders(self._engine))
            case "POST", ["control"]:
                return await self._control(request)
            case "POST", ["quota", "found"]:
                return self._found(request)
            case "POST", ["submit"]:
                return await self._submit(request)
            case "POST", ["hook", path]:
                return await self._hook(request, path)
            case "GET", ["hook", _]:
                return _error(405, "a webhook takes POST")
            case "POST", ["roster"]:
                return await self._change_roster(request)
            case "POST", ["cancel" | "retry" | "drop" as order, task]:
                return await self._order(request, order, task)
        return _error(404, f"no such page; there are {PAGES}")

    def _ready(self) -> HttpResponse:
        reasons = reporting.degraded(self._engine)
        ready = not self._engine.gate.shut and self._engine.world.now() < self._engine.membership.act_until()
        ready = ready or (self._engine.follow and self._engine.spread.in_touch)
        return _answer(200 if ready else 503, {"ready": ready, "degraded": reasons})

    def _refuse(self, request: HttpRequest) -> HttpResponse | None:
        if self._token is not None:
            given, tokens = request.headers.get("authorization", "").encode(), [self._token]
            if request.path.startswith(HOOK) and self._secret is not None:
                tokens.append(hook_token(self._secret, request.path.removeprefix(HOOK)))
            if not any(hmac.compare_digest(given, f"Bearer {token}".encode()) for token in tokens):
                return _error(401, "this mesh has a secret: send its token (actonce does so with --secret-file)")
            return None
        host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
        if not request.loopback or host not in LOCAL_HOSTS:
            return _error(403, "a replica without a secret answers programs on its own host only")
        return None

    def _found(self, request: HttpRequest) -> HttpResponse:
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _error(415, "send Content-Type: application/json")  # which keeps browsers out
        reason = self._engine.quotas.found_late()
        return _answer(200, {"founded": True}) if reason is None else _error(409, reason)

    async def _submit(self, request: HttpRequest) -> HttpResponse:
        """`{"kind": ..., "payload": ..., "key": ...}`; the key may come as `Idempotency-Key` instead."""
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _error(415, "send Content-Type: application/json")
        try:
            body: Any = json.loads(request.body)
        except (ValueError, RecursionError) as error:
            return _error(400, f"the body is not JSON: {error}")
        header = request.headers.get("idempotency-key")
        key = body.get("key", header.strip('"') if header else None) if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(body.get("kind"), str) or not isinstance(key, str | None):
            return _error(400, 'the body is {"kind": text, "payload": any JSON, "key": text or absent}')
        limit_s = self._engine.settings.submit_timeout_s
        try:
            payload = pack_payload("the payload", body.get("payload"))
            wanted = {name: body[name] for name in ("priority", "delay", "not_before", "after") if name in body}
            terms = make_terms(self._engine.world.wall(), **_timed(wanted))
            submit = partial(self._engine.inbox.submit, body["kind"], payload, key, terms=terms)
            submitted: Submitted = await _wait(submit, limit_s)
        except TimeoutError:
            return _error(503, f"no disk and live peer confirmed it within {limit_s:g} s: submit it again, same key")
        except KeyReused as error:
            return _error(422, str(error))
        except UnknownKind as error:
            return _error(404, str(error))
        except Draining as error:
            return _error(503, str(error))
        except ActonceError as error:
            return _error(400, str(error))
        return _answer(202 if submitted.new else 200, {"task": submitted.task, "new": submitted.new})

    async def _hook(self, request: HttpRequest, path: str) -> HttpResponse:
        """An event for a webhook; answered once its task is safe, so that the sender need not repeat it."""
        hook, limit_s = self._engine.agent.webhooks.get(path), self._engine.settings.submit_timeout_s
        if hook is None:
            known = ", ".join(sorted(self._engine.agent.webhooks)) or "none"
            return _error(404, f"the agent has no webhook {path!r}; it has: {known}")
        try:
            key, event = read_event(hook, request.headers, request.body)
            submit = partial(self._engine.inbox.submit, hook.kind, pack_payload("the event", event), key)
            submitted: Submitted = await _wait(partial(submit, first_counts=True), limit_s)
        except EventRefused as error:
            return _error(error.status, str(error))
        except TimeoutError:
            return _error(503, f"no disk and live peer confirmed it within {limit_s:g} s: send it again")
        except Draining as error:
            return _error(503, str(error))
        except PayloadTooLarge as error:
            return _error(413, str(error))
        except ActonceError as error:
            return _error(400, str(error))
        return _answer(202 if submitted.new else 200, {"task": submitted.task, "new": submitted.new})

    async def _change_roster(self, request: HttpRequest) -> HttpResponse:
        """`{"add": name}` or `{"remove": name}`; answered once it is decided."""
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _error(415, "send Content-Type: application/json")
        electorate = self._engine.electorate
        try:
            match json.loads(request.body):
                case {"add": str(name)}:
                    change = electorate.add
                case {"remove": str(name)}:
                    change = electorate.remove
                case _:
                    return _error(400, 'the body is {"add": name} or {"remove": name}')
            refusal: str | None = await _wait(partial(change, name), ROSTER_WAIT_S)
        except RosterRefused as error:
            return _error(409, str(error))
        except TimeoutError:
            return _error(503, f"not decided within {ROSTER_WAIT_S:g} s: it may yet be; look with `actonce roster`")
        except (ValueError, RecursionError) as error:
            return _error(400, f"the body is not JSON: {error}")
        return _error(409, refusal) if refusal is not None else _answer(200, election_report.roster_facts(self._engine))

    async def _remember(self, request: HttpRequest, name: str) -> HttpResponse:
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _error(415, "send Content-Type: application/json")
        limit_s = self._engine.settings.submit_timeout_s
        try:
            word: str = await _wait(partial(http_memory.order, self._engine, name, request.body), limit_s)
        except TimeoutError:
            return _error(503, f"no disk and live peer confirmed it within {limit_s:g} s: look, and tell it again")
        except (MemoryInvalid, MemoryFull) as error:
            return _error(400, str(error))
        return _answer(200, {"name": name, "state": word})

    async def _order(self, request: HttpRequest, order: str, task: str) -> HttpResponse:
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _error(415, "send Content-Type: application/json")
        orders = self._engine.orders
        calls = {"cancel": orders.cancel, "retry": orders.retry, "drop": orders.drop}
        return await self._ordered(partial(calls[order], task), lambda state: {"task": task, "state": state})

    async def _resolve(self, request: HttpRequest, effect: str) -> HttpResponse:
        """`{"answer": "posted" | "resend" | "skip"}`."""
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _error(415, "send Content-Type: application/json")
        try:
            answer = json.loads(request.body)["answer"]
        except (ValueError, RecursionError, LookupError, TypeError):
            answer = None
        if not isinstance(answer, str) or answer not in ANSWERS:
            return _error(400, f'the body is {{"answer": one of {", ".join(ANSWERS)}}}')
        call = partial(self._engine.doubts.resolve, effect, answer)
        return await self._ordered(call, lambda word: {"effect": effect, "answer": word})

    async def _ordered(
        self, call: Callable[[Callable[[str], None]], None], told: Callable[[str], dict[str, str]]
    ) -> HttpResponse:
        limit_s = self._engine.settings.submit_timeout_s
        try:
            word: str = await _wait(call, limit_s)
        except TimeoutError:
            return _error(503, f"no disk and live peer confirmed it within {limit_s:g} s: order it again")
        except NoSuchTask as error:
            return _error(404, str(error))
        except WrongState as error:
            return _error(409, str(error))
        return _answer(200, told(word))

    async def _control(self, request: HttpRequest) -> HttpResponse:
        """`{"mode": ..., "kind" or "replica": ..., "reason": ...}`. A halt is answered once all have confirmed it, or
        with 504 and the names of those that have not; the order stands either way."""
        if not request.headers.get("content-type", "").startswith("application/json"):
            return _error(415, "send Content-Type: application/json")
        control, given = self._engine.control, list[Switch]()
        try:
            target, mode, reason, limit_s = control_report.parse(request.body)

            def order(reply: Callable[[Ordered], None]) -> None:
                given.append(control.order(target, mode, reason, reply))

            ordered: Ordered = await _wait(order, limit_s)
        except TimeoutError:
            progress = control.progress(given[0], target)
            facts = control_report.answer(self._engine, progress)
            return _answer(504, {"error": control_report.unconfirmed(progress, limit_s), **facts})
        except NoSuchTarget as error:
            return _error(404, str(error))
        except ActonceError as error:
            return _error(400, str(error))
        return _answer(200, control_report.answer(self._engine, ordered))

    async def _result(self, task: str, wait: str) -> HttpResponse:
        try:
            wait_s = min(max(0.0, float(wait)), RESULT_WAIT_S_MAX)
            if math.isnan(wait_s):
                raise ValueError("not a number")
        except ValueError:
            return _error(400, f"wait={wait!r} is not a number of seconds")
        stops: list[Callable[[], None]] = []
        try:
            done: Done = await _wait(lambda reply: stops.append(self._engine.inbox.result(task, reply)), wait_s)
        except TimeoutError:
            return _error(404, f"task {task!r} has no outcome yet")
        finally:
            for stop in stops:
                stop()
        return _answer(200, {"task": task, "ok": done.ok, "result": unpack_value(done.result)})


async def _wait(call: Callable[[Callable[[Any], None]], None], limit_s: float) -> Any:
    """Run `call(reply)` here, on the engine's thread, and wait for the reply."""
    answered, answers = anyio.Event(), list[Any]()

    def reply(answer: Any) -> None:
        answers.append(answer)
        answered.set()

    call(reply)
    with anyio.fail_after(limit_s):
        await answered.wait()
    return answers[0]


def _timed(wanted: dict[str, Any]) -> dict[str, Any]:
    """JSON has no times: `not_before` comes as ISO 8601 with its zone, or as unix seconds."""
    text = wanted.get("not_before")
    if isinstance(text, str):
        try:
            wanted = {**wanted, "not_before": datetime.fromisoformat(text)}
        except ValueError:
            raise PayloadInvalid(f"not_before={text!r}: write a time such as 2026-11-21T09:00:00+01:00") from None
    elif text is not None and (isinstance(text, bool) or not isinstance(text, int | float)):
        raise PayloadInvalid(f"not_before={text!r}: use unix seconds, or a time with its zone")
    return wanted


def _limit(request: HttpRequest) -> int:
    text = request.query.get("limit", "")
    return min(int(text), ROWS_MAX) if re.fullmatch("[0-9]{1,9}", text) else ROWS_DEFAULT


def _answer(status: int, body: object) -> HttpResponse:
    text = json.dumps(body, ensure_ascii=False, default=repr)
    return HttpResponse(status, text.encode("utf-8", "backslashreplace") + b"\n", {"content-type": "application/json"})


def _error(status: int, reason: str) -> HttpResponse:
    return _answer(status, {"error": reason})
