"""One effect from the handler's side: ask the engine, pass the gate, publish, settle doubts, remember the receipt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from actonce.desk import Desk
from actonce.endpoints import Line
from actonce.errors import EffectFailed, GateClosed, SinkRefused, SinkUnknown
from actonce.inbox import pack_payload
from actonce.outbox import Plan, Publish, Refuse, Replay, Settle
from actonce.patience import Patience
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
    patience: Patience = field(default_factory=Patience)
    in_doubt: bool = False
    """Whether it may have been done before, by anybody."""

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
                    case Publish(body, settled):
                        self.in_doubt = settled is not None
                        return await self._publish(body, settled)
                    case Settle():
                        self.in_doubt = True
                        if await self._is_settled(plan):
                            continue  # what is known now, the next plan says
                        return await self._publish(plan.body, settled="resent")
            except GateClosed:
                if self.run.revoked:
                    raise
                # Out of contact, or short of lease: nothing left. Wait for the gate, and ask again what is known then.
                await desk.wait(lambda reply: desk.outbox.when_open(self.run, reply))
            except (SinkRefused, SinkUnknown) as error:
                attempt += 1
                await self._pause(error, attempt)

    @property
    def _line(self) -> Line:
        return self.desk.lines.to(self.sink_name, self.sink)

    def _prepare(self, reply: Callable[[Plan], None]) -> None:
        self.desk.outbox.prepare(self.run, self.key, self.sink_name, self.body, reply)

    async def _pause(self, error: SinkRefused | SinkUnknown, attempt: int) -> None:
        """Exponential backoff with full jitter, on top of what the sink asked for; or the end, written down."""
        settings, asked_s, failure = self.desk.settings, 0.0, ""
        if isinstance(error, SinkRefused):
            asked_s = error.retry_after_s or 0.0
            failure = f"{self.sink_name} refused effect {self.key!r}: {error.reason}" if error.permanent else ""
        if not failure and attempt >= settings.effect_attempts_max:
            failure = f"effect {self.key!r} failed {attempt} times: {error.reason}"
        if failure:
            given_up, doubt = self.desk.outbox.given_up, self.in_doubt
            await self.desk.wait(lambda reply: given_up(self.run, self.key, in_doubt=doubt, reply=reply))
            raise EffectFailed(failure) from error
        cap_s = min(settings.retry_wait_max_s, settings.retry_wait_s * 2.0**attempt)
        await anyio.sleep(asked_s + await self.desk.draw(cap_s))

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
            receipt = await self._line.publish(unpack_value(body), key, run.fence, gate)
        except (SinkRefused, GateClosed):
            if left:
                desk.tell(lambda: desk.outbox.refused(run, key))
            raise
        finally:
            desk.gate.arrived(effect)
        await self._remember(receipt, settled)
        return receipt

    async def _is_settled(self, doubt: Settle) -> bool:
        """It may have happened. Ask the sink if it can be asked; otherwise follow the rule of the kind.

        False if it is to be sent again. "Absent" counts only once nothing sent before can still arrive:
        `publish_timeout_s` after whoever tried before had stopped.
        """
        sink, world, rule = self.sink, self.desk.world, self.run.spec.on_doubt
        if sink.can_lookup:
            quiet_at, asked_at = doubt.quiet_from + sink.publish_timeout_s, world.now()
            receipt = await self._line.lookup(self.key)
            if receipt is None and asked_at < quiet_at:
                await anyio.sleep(max(0.0, quiet_at - world.now()))
                receipt = await self._line.lookup(self.key)
            if receipt is not None:
                await self._remember(receipt, "found")
            return receipt is not None
        if rule != "skip" and self._is_refused_again(world.wall() - doubt.intended_s):
            return False
        if rule == "ask":

            def ask(reply: Callable[[None], None]) -> Callable[[], None]:
                return self.desk.doubts.ask(self.run, self.key, reply)

            with self.patience.waiting():
                await self.desk.ask_unless(ask)
        else:
            await self.desk.wait(lambda reply: self.desk.outbox.skipped(self.run, self.key, reply))
        return True

    def _is_refused_again(self, age_s: float) -> bool:
        """Whether the sink still refuses this key, if it has it.

        `age_s` comes from two wall clocks: an intent from the future may be of any age.
        """
        latest_s = age_s + CLOCK_ERROR_S + self.sink.publish_timeout_s
        return age_s > -CLOCK_ERROR_S and latest_s < self.sink.dedupe_window_s

    async def _remember(self, receipt: Json, settled: str | None) -> None:
        packed = pack_payload("the receipt", receipt)
        await self.desk.wait(lambda reply: self.desk.outbox.done(self.run, self.key, packed, settled, reply))
