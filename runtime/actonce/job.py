"""Runs one handler over at the hands and reports how it ended. Never raises, but for cancellation."""

from __future__ import annotations

import logging
import traceback

import anyio

from actonce.context import Context, SyncContext
from actonce.desk import Desk
from actonce.errors import ActonceError, PayloadInvalid, PayloadTooLarge, StepsChanged
from actonce.executor import Finished, printable
from actonce.inbox import pack_payload
from actonce.polling import poll_forever
from actonce.resolving import resolve
from actonce.running import Run
from actonce_crdt import Json, unpack_value

log = logging.getLogger("actonce.handlers")


async def run_handler(desk: Desk, run: Run) -> None:
    """Run the handler of `run` and tell the executor. A revoked run is cancelled from outside."""
    how = Finished(None, "the handler was cancelled")
    try:
        how = await _attempt(desk, run)
        if run.spec.guard != "available":  # an outcome is an effect too: the side that may not act writes none
            await desk.wait(lambda reply: desk.outbox.when_open(run, reply))
    finally:
        desk.tell(lambda: _finish(desk, run, how))


def _finish(desk: Desk, run: Run, how: Finished) -> None:
    if how.again:
        desk.steps.start_over(run)
    desk.steps.forget(run)
    if how.result is None and how.ends(run) and not run.revoked:
        again = f"`actonce dead list` shows it, `actonce dead retry {run.task}` tries it again"
        log.error("task %s failed for good, at attempt %d: %s", run.task, run.attempt, again)
    desk.executor.finished(run, how)


async def _attempt(desk: Desk, run: Run) -> Finished:
    try:
        with anyio.fail_after(run.spec.timeout_s) as scope:
            value = await _call(desk, run, scope)
        return Finished(pack_payload("the result", value))
    except (PayloadInvalid, PayloadTooLarge) as error:
        log.warning("task %s failed, and is not tried again: %s", run.task, error)
        return Finished(None, str(error), final=True)
    except StepsChanged as error:
        again = run.spec.on_changed == "restart" or run.reopened  # whoever asks for it again, has seen the outcome
        return Finished(None, _describe(run, error), final=True, again=again)
    except TimeoutError as error:
        late = scope.cancelled_caught
        return Finished(None, f"timed out after {run.spec.timeout_s:g} s" if late else _describe(run, error))
    except (Exception, SystemExit) as error:  # sys.exit() of a handler must not end one replica after the other
        return Finished(None, _describe(run, error))


async def _call(desk: Desk, run: Run, scope: anyio.CancelScope) -> Json:
    context, payload = Context(desk, run), unpack_value(run.payload)
    context.patience.scope = scope
    value: Json
    if run.spec.poll is not None:
        return await poll_forever(desk, run, run.spec.poll)
    if run.spec.merge is not None:
        return await resolve(desk, run, context, run.spec.merge)
    if run.spec.is_async:
        value = await run.spec.handler(context, payload)
        return value
    # A thread cannot be stopped from outside. When its task is taken over it is left alone; the gate is shut for it.
    value = await desk.world.hands.plain(lambda run_async: run.spec.handler(SyncContext(context, run_async), payload))
    return value


def _describe(run: Run, error: BaseException) -> str:
    expected = isinstance(error, ActonceError)
    text = printable(str(error) if expected else _trace(error))
    log.warning("task %s, attempt %d failed: %s", run.task, run.attempt, text)
    return printable(f"{type(error).__name__}: {error}")


def _trace(error: BaseException) -> str:
    """Where it was raised, from the handler on: what called that says nothing to its author."""
    first = found = error.__traceback__
    while found is not None:
        if found.tb_frame.f_code.co_filename == __file__:
            first = found.tb_next or first
        found = found.tb_next
    return "".join(traceback.format_exception(type(error), error, first))
