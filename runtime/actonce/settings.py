"""Every duration and limit of a replica, each with its unit and the formula it enters.

The timing follows one inequality, checked when a `Settings` is made:

    contact_window_s  <  suspicion_s + grace_s

A replica acts only while every member in play answered a heartbeat that it *sent* less than `contact_window_s`
ago. A member is given up for dead only after `suspicion_s + grace_s` without a word from it. So whoever was given
up has stopped acting before anybody else starts. Clocks need a bounded *rate*, never the right time: the two
sides of the inequality are measured on two machines, and `clock_rate_error_max` is the slack between them.
"""

import math
from dataclasses import dataclass, fields

from actonce.errors import ConfigError

CONTACT_WINDOW_S_MAX = 3600.0
"""A replica with a longer one could never be given up: its peers refuse it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How fast a replica talks, suspects and gives up. The defaults are the `lan` preset."""

    heartbeat_s: float = 0.1
    """Between two heartbeats to a peer. Contact needs a round trip, so `contact_window_s` holds many of them."""

    tick_s: float = 0.05
    """Between two looks at the clock. Silence is counted in ticks: see `Membership.tick`."""

    contact_window_s: float = 1.0
    """How old an answered heartbeat may be, dated by when it was *sent*, for us to act on it."""

    suspicion_s: float = 1.0
    """Silence after which a member leaves the view; it still counts as in play for the grace."""

    grace_s: float = 0.6
    """How long a member that left the view by silence can still stop others from taking its tasks."""

    clock_rate_error_max: float = 0.05
    """The largest difference in rate between two replicas' clocks that the inequality above allows for."""

    reentry_round_trips: int = 3
    """Fresh round trips before a replica that was removed for silence is a member again."""

    start_alone_after_s: float = 30.0
    """A restarted replica that cannot sync with those of its last view acts alone after this long, and says so."""

    pulse_s: float = 1.0
    """Between two words to a neighbour on links of followers, which carry heartbeats of nobody: see `spread`."""

    ask_again_s: float = 0.3
    """Between two anti-entropy requests to one peer, and how long it may lag before it is asked."""

    retention_s: float = 7 * 86_400.0
    """How long an outcome is remembered at least, and its key with it, where the kind of task does not say. A task
    submitted again within that time is the same task; after it, and `forget_after_s`, it is a new one."""

    forget_after_s: float = 2 * 86_400.0
    """How long a replica may be away and bring what it alone was asked for. After that it is reported as late."""

    slots: int = 32
    """Handlers that run at once on this replica."""

    submit_timeout_s: float = 10.0
    """How long `submit` waits for a disk and one live peer before it reports that the task is not safe."""

    drain_s: float = 30.0
    """How long a leaving replica waits for its running handlers."""

    retry_wait_s: float = 0.2
    """Base of the exponential backoff between attempts of a task or an effect, with full jitter."""

    retry_wait_max_s: float = 30.0
    """Cap of that backoff."""

    quota_clock_error: float = 0.001
    """How much faster than the provider's our clock may run: each window of a quota is stretched by this."""

    effect_attempts_max: int = 5
    """Attempts of one effect inside one attempt of its handler, before the handler sees `EffectFailed`."""

    def __post_init__(self) -> None:
        for one in fields(self):
            self._check(one.name, one.type)
        if not 0 < self.tick_s <= self.heartbeat_s:
            raise ConfigError(
                f"tick_s ({self.tick_s}) must be above zero, and no longer than heartbeat_s ({self.heartbeat_s})"
            )
        if self.forget_after_s == math.inf:
            raise ConfigError("forget_after_s must be finite: how long somebody may be away cannot be for ever")
        if self.contact_window_s > CONTACT_WINDOW_S_MAX:
            raise ConfigError(f"contact_window_s ({self.contact_window_s}) must be {CONTACT_WINDOW_S_MAX} s at most")
        if self.contact_window_s * (1 + self.clock_rate_error_max) >= self.suspicion_s + self.grace_s:
            raise ConfigError(
                f"contact_window_s ({self.contact_window_s}) must be shorter than suspicion_s + grace_s "
                f"({self.suspicion_s} + {self.grace_s}), with {self.clock_rate_error_max:.0%} to spare for clocks"
            )
        if self.heartbeat_s * 3 > self.contact_window_s:
            raise ConfigError(
                f"contact_window_s ({self.contact_window_s}) must hold three heartbeats of {self.heartbeat_s} s"
            )

    def _check(self, name: str, kind: object) -> None:
        """Whole numbers stand for floats, too: from here on they are floats, as the handshake wants them."""
        value: object = getattr(self, name)
        if kind is int:
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ConfigError(f"{name} ({value!r}) must be a whole number, and not negative")
        elif not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:  # nor nan
            raise ConfigError(f"{name} ({value!r}) must be a number, and not negative")
        else:
            object.__setattr__(self, name, _as_float(value))


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


LAN = Settings()
WAN = Settings(heartbeat_s=0.3, contact_window_s=3.0, suspicion_s=3.0, grace_s=2.0, ask_again_s=1.0)
LAPTOP = Settings(heartbeat_s=0.25, contact_window_s=2.0, suspicion_s=4.0, grace_s=2.0, start_alone_after_s=15.0)

PRESETS = {"lan": LAN, "wan": WAN, "laptop": LAPTOP}
"""lan: one site, failover by silence in two seconds. wan: round trips up to a second, failover in six. laptop: machines
that sleep, come and go: suspicion is slow, and one that wakes up alone waits half as long for the others."""

PAYLOAD_BYTES_MAX = 131_072
"""A task's payload, its result and the body of an effect, as canonical msgpack."""

KEY_BYTES_MAX = 200
"""A caller's key, UTF-8. Entry keys hold it together with the kind or the task (512 bytes in all)."""
