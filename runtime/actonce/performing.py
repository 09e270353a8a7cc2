"""One effect from the handler's side: ask the engine, pass the gate, publish, settle doubts, remember the receipt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio

from actonce.desk import Desk
from actonce.errors import EffectFailed, GateClosed, SinkRefused, SinkUnknown
from actonce.inbox import pack_payload
from actonce.outbox import Plan, Publish, Refuse, Replay, Settle
from actonce.running import Run
from actonce.sinks import Sink
from actonce_crdt import Json, unpack_value

CLOCK_ERROR_S = 5.0
"""By how much the wall clocks of two replicas may differ before the age of an intent means nothing."""


@dataclass(slots=True)
class Effect:
    """One `ctx.post` under way."""

    desk: Desk
    run: Run
    key: str
    sink_name: str
    sink: Sink
    body: bytes

    async def perform(self) -> Json:
        """The sink's receipt, from now or from an earlier attempt; None for a doubt that was given up by rule.

        Raises:
            EffectFailed: refused for good, or not done after `effect_attempts_max` attempts.
            KeyReused: the same key with another body in the same attempt.
            GateClosed: the task was taken over; the handler is being cancelled.
        """
        desk, attempt = self.desk, 0
        while True:
            plan: Plan = await desk.ask(self._prepare)
            try:
                match plan:
                    case Refuse(error):
                        raise error
                    case Replay(receipt):
                        return None if receipt is None else unpack_value(receipt)
                    case Publish(body):
                        return await self._publish(body, settled=None)
                    case Settle():
                        return await self._settle(plan)
            except GateClosed:
                if self.run.revoked:
                    raise
                # Out of contact, or short of lease: nothing left. Wait for the gate, and ask again what is known then.
                await desk.wait(lambda reply: desk.outbox.when_open(self.run, reply))
            except (SinkRefused, SinkUnknown) as error:
                attempt += 1
                await self._pause(error, attempt)

    def _prepare(self, reply: Callable[[Plan], None]) -> None:
        self.desk.outbox.prepare(self.run, self.key, self.sink_name, self.body, reply)

    async def _pause(self, error: SinkRefused | SinkUnknown, attempt: int) -> None:
        """Exponential backoff, or as long as the sink asked for; no jitter: replicas do not compete for one effect."""
        settings, asked_s = self.desk.settings, 0.0
        if isinstance(error, SinkRefused):
            if error.permanent:
                raise EffectFailed(f"{self.sink_name} refused effect {self.key!r}: {error.reason}") from error
            asked_s = error.retry_after_s or 0.0
        if attempt >= settings.effect_attempts_max:
            raise EffectFailed(f"effect {self.key!r} failed {attempt} times: {error.reason}") from error
        await anyio.sleep(max(asked_s, min(settings.retry_wait_max_s, settings.retry_wait_s * 2.0**attempt)))

    async def _publish(self, body: bytes, settled: str | None) -> Json:
        """Through the gate and out."""
        desk, run, key = self.desk, self.run, self.key
        left, effect = False, object()

        def gate() -> None:
            nonlocal left
            desk.gate.enter(effect, run)
            if not left:  # a sink may ask more than once
                left = True
                desk.tell(lambda: desk.outbox.leaving(run, key))

        try:
            receipt = await self.sink.publish(unpack_value(body), key, run.fence, gate)
        except (SinkRefused, GateClosed):
            if left:
                desk.tell(lambda: desk.outbox.refused(run, key))
            raise
        except SinkUnknown:
            raise
        except Exception as error:  # a sink that breaks its contract may have done anything
            raise SinkUnknown(f"{type(error).__name__}: {error}") from error
        finally:
            desk.gate.arrived(effect)
        await self._remember(receipt, settled)
        return receipt

    async def _settle(self, doubt: Settle) -> Json:
        """It may have happened. Ask the sink if it can be asked; otherwise follow the rule of the kind.

        "Absent" counts only once nothing sent before can still arrive: `publish_timeout_s` after whoever tried
        before had stopped.
        """
        sink, world = self.sink, self.desk.world
        if sink.can_lookup:
            quiet_at, asked_at = doubt.quiet_from + sink.publish_timeout_s, world.now()
            receipt = await sink.lookup(self.key)
            if receipt is None and asked_at < quiet_at:
                await anyio.sleep(max(0.0, quiet_at - world.now()))
                receipt = await sink.lookup(self.key)
            if receipt is not None:
                await self._remember(receipt, "found")
                return receipt
            return await self._publish(doubt.body, settled="resent")
        if self.run.spec.on_doubt == "resend" and self._is_refused_again(world.wall() - doubt.intended_s):
            return await self._publish(doubt.body, settled="resent")
        await self.desk.wait(lambda reply: self.desk.outbox.skipped(self.run, self.key, reply))
        return None

    def _is_refused_again(self, age_s: float) -> bool:
        """Whether the sink still refuses this key, if it has it.

        `age_s` comes from two wall clocks: an intent from the future may be of any age.
        """
        latest_s = age_s + CLOCK_ERROR_S + self.sink.publish_timeout_s
        return age_s > -CLOCK_ERROR_S and latest_s < self.sink.dedupe_window_s

    async def _remember(self, receipt: Json, settled: str | None) -> None:
        packed = pack_payload("the receipt", receipt)
        await self.desk.wait(lambda reply: self.desk.outbox.done(self.run, self.key, packed, settled, reply))
