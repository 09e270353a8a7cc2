"""Addresses, and which of them need a secret."""

import pytest

from actonce_transports import AddressInvalid, SecretNeeded, Timings
from actonce_transports.address import Address, check_secret, parse_address


@pytest.mark.parametrize("text", ["127.0.0.1:7420", "localhost:1", "[::1]:7420", "node-1.example.org:65535"])
def test_an_address_is_read_and_written_alike(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":1",
        "host",
        "host:",
        "host:x",
        "host:0",
        "host:65536",
        "host:-1",
        "host:\u0661",
        "::1:7420",
        "[::1]",
        "[x]:1",
        "a b:1",
        "host:1\n",
        "a/b:1",
        "-:1",
        "x" * 254 + ":1",
        "user@host:1",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(AddressInvalid):
        parse_address(text)


def test_port_zero_is_for_listening() -> None:
    assert parse_address("localhost:0", any_port=True) == Address("localhost", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"])
def test_loopback_needs_no_secret(host: str) -> None:
    check_secret(Address(host, 1), None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", "127.1.example"])
def test_leaving_the_host_needs_a_secret(host: str) -> None:
    with pytest.raises(SecretNeeded):
        check_secret(Address(host, 1), None)
    check_secret(Address(host, 1), b"secret")


def test_an_empty_secret_is_none() -> None:
    with pytest.raises(SecretNeeded):
        check_secret(Address("127.0.0.1", 1), b"")


def test_backoff_doubles_up_to_its_limit_and_is_spread() -> None:
    timings = Timings(backoff_min_s=0.05, backoff_max_s=2.0)
    assert timings.backoff_s(0, 0.9) == 0
    assert [timings.backoff_s(failures, 0) for failures in (1, 2, 3)] == [0.025, 0.05, 0.1]
    assert timings.backoff_s(10**6, 0) == 1.0
    assert 1.9 < timings.backoff_s(10**6, 0.99) < 2.0
