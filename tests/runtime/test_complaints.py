"""What a provider's answer says of its limits."""

import pytest

from actonce.complaints import COOL_S_MAX, Complaint, read_complaint

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("status", "headers", "complaint"),
    [
        (200, {}, None),
        (200, {"X-RateLimit-Remaining-Requests": "3", "X-RateLimit-Reset-Requests": "20s"}, None),
        (200, {"X-RateLimit-Remaining-Requests": "0", "X-RateLimit-Reset-Requests": "6m0s"}, Complaint(360.0, False)),
        (200, {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, Complaint(0.02, False)),
        (200, {"RateLimit": '"default";r=0;t=30'}, Complaint(30.0, False)),
        (200, {"RateLimit": '"default";r=7;t=30'}, None),
        (200, {"Retry-After": "30"}, None),
        (429, {}, Complaint(0.0, True)),
        (429, {"Retry-After": "30"}, Complaint(30.0, True)),
        (429, {"Retry-After": "1.5"}, Complaint(1.5, True)),
        (429, {"retry-after-ms": "250", "Retry-After": "1"}, Complaint(0.25, True)),
        (429, {"Retry-After": "Tue, 14 Nov 2023 22:13:50 GMT"}, Complaint(30.0, True)),
        (429, {"Retry-After": "Tue, 14 Nov 2023 22:13:10 GMT"}, Complaint(0.0, True)),
        (429, {"Retry-After": "soon"}, Complaint(0.0, True)),
        (429, {"Retry-After": "-5"}, Complaint(0.0, True)),
        (429, {"Retry-After": "99999999"}, Complaint(0.0, True)),
        (429, {"Retry-After": "86400"}, Complaint(COOL_S_MAX, True)),
        (503, {"Retry-After": "2"}, Complaint(2.0, False)),
        (503, {}, None),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000030"}, None),
    ],
)
def test_answers(status: int, headers: dict[str, str], complaint: Complaint | None) -> None:
    assert read_complaint(status, headers, NOW) == complaint
