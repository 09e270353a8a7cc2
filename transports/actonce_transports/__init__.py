"""Bytes between replicas: the contract, and the transports that keep it. Start with contract.py."""

from .contract import End, Identity, Link, Reach, Receiver, Transport
from .errors import (
    AddressBusy,
    AddressInvalid,
    FrameTooLarge,
    HandshakeFailed,
    NotRunning,
    SecretNeeded,
    TransportError,
)
from .http import HttpHandler, HttpRequest, HttpResponse
from .limits import ABOUT_BYTES_MAX, FRAME_BYTES_MAX, HTTP_BODY_BYTES_MAX, NAME_BYTES_MAX, QUEUE_BYTES_MAX, Timings
from .memory import MemoryNetwork, MemoryTransport
from .websocket import WebsocketTransport

__all__ = [
    "ABOUT_BYTES_MAX",
    "FRAME_BYTES_MAX",
    "HTTP_BODY_BYTES_MAX",
    "NAME_BYTES_MAX",
    "QUEUE_BYTES_MAX",
    "AddressBusy",
    "AddressInvalid",
    "End",
    "FrameTooLarge",
    "HandshakeFailed",
    "HttpHandler",
    "HttpRequest",
    "HttpResponse",
    "Identity",
    "Link",
    "MemoryNetwork",
    "MemoryTransport",
    "NotRunning",
    "Reach",
    "Receiver",
    "SecretNeeded",
    "Timings",
    "Transport",
    "TransportError",
    "WebsocketTransport",
]
