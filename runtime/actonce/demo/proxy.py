"""A TCP proxy with a switch: cuts a replica off without root, firewall or loss.

While it is cut, bytes stop in both directions and wait; connections stay up, new ones are accepted and wait too; the
ends of connections wait behind their bytes. To both sides this looks like a network that went silent. After healing
all of it arrives, in order.

Not the same as a direct connection in one respect: a target that refuses connections looks like one that accepts and
resets them at once.
"""

from __future__ import annotations

import asyncio

READ_BYTES = 65_536


class Proxy:
    """Forwards connections on a port of its own to `target`, a `host:port`."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host.strip("[]"), int(port))
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen on 127.0.0.1; returns the port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def cut(self) -> None:
        """From now on nothing passes. Cutting twice is cutting once."""
        self._flowing.clear()

    def heal(self) -> None:
        """All that waited goes on its way."""
        self._flowing.set()

    async def stop(self) -> None:
        """Close the listener and reset all connections; what waited is lost."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._forward(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            await self._flowing.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            writers.append(far_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, far_writer))
                group.create_task(self._pump(far_reader, writer))
            for each in writers:  # ended in good order: what is still in their buffers leaves first
                each.close()
        except* OSError:  # a reset, or nobody there: pass it on
            pass
        finally:
            for each in writers:
                if not each.is_closing():
                    each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction, to its end. Reads no further than it can write: what waits, waits where it came from."""
        while True:
            await self._flowing.wait()
            data = await reader.read(READ_BYTES)
            await self._flowing.wait()
            if not data:
                break
            writer.write(data)
            await writer.drain()
        writer.write_eof()
