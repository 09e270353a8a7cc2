"""An announcement that found a full queue is said again, and before anything that would count under the old one."""

from actonce.agent import Agent
from actonce.messages import Announce, Heartbeat, decode
from actonce.settings import LAN

from .lab import Lab, run


def test_a_word_that_found_a_full_queue_is_said_again_before_any_heartbeat() -> None:
    async def scenario() -> None:
        lab = Lab(Agent("kevin"), "ab")
        await lab.form()
        a, known = lab.engine("a"), lab.engine("b").membership.peers["a"]
        link, beats, full = a.gossip.lines["b"].link, list[float](), True
        send = link.send

        def send_if_small(frame: bytes) -> bool:
            message = decode(frame)
            if full and isinstance(message, Announce):
                return False
            beats.extend([lab.loop.time()] * isinstance(message, Heartbeat))
            return send(frame)

        link.send = send_if_small  # type: ignore[method-assign]
        a.membership.leaving = True
        a.gossip.announce()
        await lab.until(lambda: False, 5 * LAN.heartbeat_s)
        assert not known.leaving
        assert not beats, "b would count them under what a said before"
        full = False
        await lab.until(lambda: False, 2 * LAN.heartbeat_s)
        assert known.leaving
        assert beats

    run(scenario)
