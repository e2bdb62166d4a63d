"""How many TCP connections Hypercorn may have, and how one ends whose client does not read."""

import ipaddress
from collections import Counter
from typing import Any

import hypercorn.asyncio.run
import structlog
from hypercorn.asyncio.tcp_server import TCPServer

log = structlog.get_logger()
MOST_CONNECTIONS = 2_048
MOST_PER_ADDRESS = 256
# What is still in the socket's buffer when a connection is closed may be taken for as long.
LINGER_S = 5.0


class _Door:
    """The open connections of this process, in all and by address."""

    def __init__(self) -> None:
        self.count = 0
        self.of_address: Counter[str] = Counter()

    def let_in(self, address: str) -> bool:
        is_crowd = self.of_address[address] >= MOST_PER_ADDRESS and not is_here(address)
        if self.count >= MOST_CONNECTIONS or is_crowd:
            return False
        self.count += 1
        self.of_address[address] += 1
        return True

    def let_out(self, address: str) -> None:
        self.count -= 1
        self.of_address[address] -= 1
        if not self.of_address[address]:
            del self.of_address[address]


_door = _Door()


class BoundedTcpServer(TCPServer):
    """One connection. Addresses of this machine are not counted one by one: a proxy stands for many clients."""

    async def run(self) -> None:
        """Serve it, unless there are too many already."""
        peer = self.writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        if not _door.let_in(address):
            log.info("connection_refused", reason="too many connections")
            self.writer.transport.abort()
            return
        try:
            await super().run()
        finally:
            _door.let_out(address)

    async def _read_data(self) -> None:
        await super()._read_data()
        # Hypercorn 0.18 would wait for the rest of the idle time-out before it lets the connection go.
        await self.idle_task.stop()

    async def _close(self) -> None:
        # Closing waits until everything was taken, which a client that reads nothing never does.
        late = self.loop.call_later(LINGER_S, self.writer.transport.abort)
        try:
            await super()._close()
        finally:
            late.cancel()


def is_here(address: str) -> bool:
    """Whether it is this machine itself: the loopback, or a Unix socket."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return True


def bound_connections() -> None:
    """Make Hypercorn use it, for the whole process."""
    names: dict[str, Any] = vars(hypercorn.asyncio.run)
    names["TCPServer"] = BoundedTcpServer
