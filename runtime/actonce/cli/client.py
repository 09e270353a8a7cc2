"""Asks a running replica over its port. Blocking; one connection for each question."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from actonce.cli.options import read_secret
from actonce.errors import ActonceError, ConfigError
from actonce.http_api import http_token
from actonce_transports import TransportError
from actonce_transports.address import parse_address

ANSWER_TIMEOUT_S = 15.0
"""For one answer; more than a replica's own limit for a submission (`Settings.submit_timeout_s`)."""


class NoAnswer(ActonceError):
    """The replica could not be asked."""


class Refused(ActonceError):
    """The replica answered that it cannot do what it was asked."""

    def __init__(self, reason: str, status: int, answer: dict[str, Any] | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.answer = answer or {}


class Client:
    """A replica as seen from outside."""

    def __init__(self, at: str, secret_file: Path | None) -> None:
        """
        Raises:
            ConfigError: `at` is no address, or the secret cannot be read.
        """
        self.at = at
        try:
            parse_address(at)
        except TransportError as error:
            raise ConfigError(f"--at {at}: {error}") from None
        secret = read_secret(secret_file)
        self._headers = {} if secret is None else {"Authorization": f"Bearer {http_token(secret)}"}

    def get(self, path: str, query: dict[str, str] | None = None, *, wait_s: float = 0.0) -> Any:
        """The JSON that the replica answers.

        Raises:
            NoAnswer: nobody is there, or somebody else.
            Refused: the replica said no, and why.
        """
        return self._answer("GET", path, ANSWER_TIMEOUT_S + wait_s, params=query)[1]

    def post(self, path: str, body: object, *, wait_s: float = 0.0) -> Any:
        """As `get`, for what changes something."""
        return self._answer("POST", path, ANSWER_TIMEOUT_S + wait_s, json=body)[1]

    def explain(self, task: str) -> Any:
        """The story of a task."""
        return self.get(f"/explain/{quote(task, safe='')}")

    def outcome(self, task: str, wait_s: float) -> Any:
        """How a task ended, or None when it has not within `wait_s`, which is at most 60."""
        try:
            return self.get(f"/result/{quote(task, safe='')}", {"wait": str(wait_s)}, wait_s=wait_s)
        except Refused as refused:
            if refused.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def ready(self) -> tuple[bool, list[str]]:
        """Whether the replica acts, and what is wrong with it."""
        status, answer = self._answer("GET", "/readyz", ANSWER_TIMEOUT_S, allowed=(503,))
        return status == httpx.codes.OK, list(answer.get("degraded", []))

    def _answer(
        self, method: str, path: str, timeout_s: float, *, allowed: tuple[int, ...] = (), **arguments: Any
    ) -> tuple[int, Any]:
        url = f"http://{self.at}{path}"
        try:
            # No proxy from the environment: the replica is asked itself.
            with httpx.Client(trust_env=False, timeout=timeout_s, headers=self._headers) as client:
                response = client.request(method, url, **arguments)
                answer = response.json()
        except httpx.ConnectError:
            raise NoAnswer(
                f"nobody answers at {self.at}: is a replica running there? Another address goes to --at"
            ) from None
        except httpx.TimeoutException:
            raise NoAnswer(f"{self.at} took the connection and did not answer within {timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            raise NoAnswer(f"what answers at {self.at} is not a replica of Actonce") from None
        if response.is_success or response.status_code in allowed:
            return response.status_code, answer
        reason = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(reason, str):
            raise NoAnswer(f"what answers at {self.at} is not a replica of Actonce")
        if response.status_code == httpx.codes.UNAUTHORIZED and self._headers:
            reason = f"the replica at {self.at} has another secret than the one in --secret-file"
        raise Refused(reason, response.status_code, answer)
