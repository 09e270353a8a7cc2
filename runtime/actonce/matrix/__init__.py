"""Matrix rooms (https://spec.matrix.org, client-server API): messages in, answers out. Not for encrypted rooms."""

from actonce.matrix.homeserver import MatrixError
from actonce.matrix.rooms import MatrixRooms, Message, answer
from actonce.matrix.sink import MatrixSink

__all__ = ["MatrixError", "MatrixRooms", "MatrixSink", "Message", "answer"]
