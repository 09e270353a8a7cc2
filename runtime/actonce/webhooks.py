"""What is sent to a webhook, read: CloudEvents 1.0 in the structured or binary mode of its HTTP binding, or plain JSON.

An event is named by its `source` and `id`, which its sender repeats when it sends the event again: so the same event is
one task, whichever replicas it is sent to. https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md

Of a binary event whose content is no JSON the data comes as text, or as base64 in `data_base64`, as the JSON format of
CloudEvents has it. Batches are refused. Attributes beside the four that are required are passed on unchecked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from actonce.settings import KEY_BYTES_MAX
from actonce.sources import Webhook
from actonce_crdt import Json

STRUCTURED = "application/cloudevents+json"
REQUIRED = ("id", "source", "type")
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}")
_JSON = re.compile(r"application/json|text/json|[^/]+/[^/]+\+json")


class EventRefused(Exception):
    """It is no event that can be taken: an HTTP status, and a sentence."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def hook_token(secret: bytes, path: str) -> str:
    """The bearer token that opens one webhook, and nothing else: for senders that need not be trusted further."""
    return hmac.digest(secret, b"actonce hook " + path.encode(), hashlib.sha256).hex()


def read_event(hook: Webhook, headers: Mapping[str, str], body: bytes) -> tuple[str, Json]:
    """The key and the payload of what was sent.

    Args:
        headers: with names in lower case.

    Raises:
        EventRefused: 400 for what is malformed, 415 for what is not one of the forms.
    """
    content, _, parameters = headers.get("content-type", "").partition(";")
    content = content.strip().lower()
    charset = re.search(r"charset\s*=\s*\"?([\w-]+)", parameters, re.IGNORECASE)
    if charset is not None and charset[1].lower() not in ("utf-8", "us-ascii"):
        raise EventRefused(415, f"charset {charset[1]}: send UTF-8")
    if hook.id_header is not None:
        return _read_plain(hook.id_header, headers, content, body)
    if content == STRUCTURED:
        event = _json(body)
        if not isinstance(event, dict):
            raise EventRefused(400, "a CloudEvent is a JSON object")
        if "data" in event and "data_base64" in event:
            raise EventRefused(400, "the event has both data and data_base64: send one of them")
        if "data_base64" in event:
            _check_base64(event["data_base64"])
    elif content.startswith("application/cloudevents"):
        raise EventRefused(415, f"{content}: send one event a request, as {STRUCTURED} or in binary mode")
    elif "ce-specversion" in headers:
        event = _binary(headers, content, body)
    else:
        raise EventRefused(415, f"not a CloudEvent: send Content-Type: {STRUCTURED}, or the headers ce-specversion, "
                                "ce-id, ce-source, ce-type")  # fmt: skip
    return _key_of(event), event


def _read_plain(header: str, headers: Mapping[str, str], content: str, body: bytes) -> tuple[str, Json]:
    if not _JSON.fullmatch(content):
        raise EventRefused(415, "send Content-Type: application/json")  # which keeps browsers out, too
    key = headers.get(header, "").strip()
    if not key or not key.isprintable():
        raise EventRefused(400, f"the header {header}, which names the event, is missing or not printable")
    return _bounded(key), _json(body)


def _binary(headers: Mapping[str, str], content: str, body: bytes) -> dict[str, Any]:
    event: dict[str, Any] = {}
    for name, value in sorted(headers.items()):
        if name.startswith("ce-") and _ATTRIBUTE.fullmatch(name[3:]):
            try:
                event[name[3:]] = unquote(value, errors="strict")
            except UnicodeDecodeError:
                raise EventRefused(400, f"the header {name} is not percent-encoded UTF-8") from None
    event.pop("datacontenttype", None)
    event.pop("data", None)
    if content:
        event["datacontenttype"] = content
    if not body:
        return event
    if _JSON.fullmatch(content):
        return {**event, "data": _json(body)}
    try:
        return {**event, "data": body.decode()} if content.startswith("text/") else _encoded(event, body)
    except UnicodeDecodeError:
        return _encoded(event, body)


def _encoded(event: dict[str, Any], body: bytes) -> dict[str, Any]:
    return {**event, "data_base64": base64.b64encode(body).decode()}


def _check_base64(value: object) -> None:
    try:
        if not isinstance(value, str):
            raise ValueError("not text")
        base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        raise EventRefused(400, "data_base64 is not base64") from None


def _key_of(event: Mapping[str, Any]) -> str:
    if event.get("specversion") != "1.0":
        raise EventRefused(400, f"specversion {event.get('specversion')!r}: send CloudEvents 1.0")
    for name in REQUIRED:
        value = event.get(name)
        if not isinstance(value, str) or not value or not value.isprintable():
            raise EventRefused(400, f"the attribute {name} of the event is missing, or no printable text")
    # No URI holds a "|", so that two pairs never make one key.
    return _bounded(f"{event['source'].replace('|', '%7C')}|{event['id']}")


def _bounded(key: str) -> str:
    """The key itself, or a digest of one that is too long."""
    data = key.encode("utf-8", "replace")
    if len(data) <= KEY_BYTES_MAX:
        return key
    return f"blake2b:{hashlib.blake2b(data, digest_size=24).hexdigest()}"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EventRefused(400, f"the body is not JSON: {error}") from None
