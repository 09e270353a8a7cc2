"""How long a source that failed waits before it tries again."""

AGAIN_S = 0.5
"""The first pause; it doubles with each failure in a row."""
AGAIN_S_MAX = 60.0


def pause_s(failures: int, dice: float, longest_s: float = AGAIN_S_MAX) -> float:
    """After so many failures in a row: exponential, its upper half by chance (`dice`, from 0 to 1)."""
    cap = min(longest_s, AGAIN_S * 2.0 ** min(failures - 1, 30))
    return cap * (1 + dice) / 2
