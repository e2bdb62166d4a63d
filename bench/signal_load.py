"""The load of a signalling server: many WebSockets of one process, in pairs that write to each other.

Cheap on purpose: what a client writes was made before, and what comes is only counted and timed. Sockets come
from many addresses of the loopback network, as those of a server's clients do.
"""

import asyncio
import struct
import time

from bench.signal_servers import CANDIDATES, Server, handshake

# The hub's limit of an address is ten sessions at their full rate: it must not be what a flood measures.
PER_ADDRESS = 10
AT_ONCE = 64  # sockets that are opening at the same time
OPEN_WITHIN_S = 20
TURN_S = 0.001
_ZERO_MASK = bytes(4)  # the payload stays as it is; a server has to unmask it all the same
_PONG = b"\x8a\x80" + _ZERO_MASK


def client_frame(text: str) -> bytes:
    """One masked text frame."""
    data = text.encode()
    if len(data) < 126:
        return bytes((0x81, 0x80 | len(data))) + _ZERO_MASK + data
    return bytes((0x81, 0xFE)) + struct.pack(">H", len(data)) + _ZERO_MASK + data


class Client(asyncio.Protocol):
    """One client, in its swarm once `entered` is done."""

    def __init__(self, load: "Load", number: int) -> None:
        self.load = load
        self.number = number
        self.partner: Client | None = None
        self.sent_at = 0.0
        self.came = 0
        dialect, other = load.server.dialect, number ^ 1
        self.description = client_frame(dialect.relayed(number, other))
        # In several frames and one write, as a page's messages of one moment travel.
        self.negotiation = self.description + b"".join(
            client_frame(dialect.candidate(number, other, place)) for place in range(len(CANDIDATES))
        )
        self.entered = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._is_open = self._is_in = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        transport.write(handshake(self.load.server, self.number))

    def connection_lost(self, exc: Exception | None) -> None:
        self.load.lost += 1
        if not self.entered.done():
            self.entered.set_exception(
                ConnectionError(f"client {self.number} was closed: {self._buffer[:200]!r}")
            )

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        if not self._is_open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._buffer = head
                return
            if b" 101 " not in head[:16]:
                raise ConnectionError(head.decode())
            self._is_open = True
            if (opening := self.load.server.dialect.opening(self.number)) is not None:
                self.transport.write(client_frame(opening))
        self._buffer = self._take(data)

    def _take(self, data: bytes) -> bytes:
        """Deal with whole frames; what is left of the last one."""
        at, there = 0, len(data)
        while there - at >= 2:
            length, start = data[at + 1], at + 2
            if length == 126:
                if there < at + 4:
                    break
                length, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
            if there < start + length:
                break
            if data[at] != 0x81:
                self._control(data[at])
            elif self._is_in:
                self.load.arrived(self)
            else:
                self._enter(data[start : start + length].decode())
            at = start + length
        return data[at:]

    def _control(self, first: int) -> None:
        if first == 0x89:
            self.transport.write(_PONG)

    def _enter(self, text: str) -> None:
        dialect = self.load.server.dialect
        if dialect.is_in(text):
            self._is_in = True
            self.entered.set_result(None)
        elif (reply := dialect.reply(self.number, text)) is not None:
            self.transport.write(client_frame(reply))

    def send(self, data: bytes) -> None:
        """Write to the partner."""
        self.sent_at = time.perf_counter()
        self.transport.write(data)


class Load:
    """All clients of one server.

    Attributes:
        lost: sockets that ended.
        late_s: how late this process itself came to each of its turns; latencies hold that, too.
    """

    def __init__(self, server: Server, clients: int) -> None:
        self.server = server
        self.lost = 0
        self.late_s: list[float] = []
        self._count = clients
        self._clients: list[Client] = []
        self._latencies: list[float] = []
        self._relayed = 0
        self._messages_a_turn = 0
        self._is_flood = False

    async def connect(self) -> None:
        """Open every socket and enter the swarms."""
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(number: int) -> Client:
            async with gate, asyncio.timeout(OPEN_WITHIN_S):
                group = number // PER_ADDRESS
                source = f"127.0.{1 + group // 250}.{1 + group % 250}"
                _, client = await asyncio.get_running_loop().create_connection(
                    lambda: Client(self, number), "127.0.0.1", self.server.port, local_addr=(source, 0)
                )
                await client.entered
                return client

        async with asyncio.TaskGroup() as tasks:
            opening = [tasks.create_task(one(number)) for number in range(self._count)]
        self._clients = [task.result() for task in opening]
        for client in self._clients:
            client.partner = self._clients[client.number ^ 1]

    async def steady(self, per_s: int, seconds: float) -> list[float]:
        """Write `per_s` messages a second, evenly, and wait for them. Returns their latencies in seconds."""
        self._latencies, self._is_flood = [], False
        began, sent, place = time.perf_counter(), 0, 0
        while (elapsed := time.perf_counter() - began) < seconds:
            while sent < elapsed * per_s:
                client = self._clients[place]
                client.send(client.description)
                sent += 1
                place = (place + 7919) % self._count  # a prime: not neighbour after neighbour
            before = time.perf_counter()
            await asyncio.sleep(TURN_S)
            self.late_s.append(time.perf_counter() - before - TURN_S)
        for _ in range(200):
            if len(self._latencies) >= sent:
                break
            await asyncio.sleep(0.01)
        if len(self._latencies) < sent:
            raise SystemExit(
                f"{self.server.name}: {sent - len(self._latencies)} of {sent} messages did not arrive"
            )
        return self._latencies

    async def flood(self, seconds: float, with_candidates: bool) -> tuple[int, float]:
        """Each pair writes to and fro, all the time: descriptions alone, or with their candidates.

        Returns:
            how many messages came, and the time.
        """
        self._messages_a_turn = 1 + with_candidates * len(CANDIDATES)
        await asyncio.sleep(1)  # what is late is not counted
        self._relayed, self._is_flood = 0, True
        began = time.perf_counter()
        for client in self._clients[::2]:
            self._turn(client)
        await asyncio.sleep(seconds)
        took, relayed, self._is_flood = time.perf_counter() - began, self._relayed, False
        await asyncio.sleep(1)  # what is under way
        return relayed, took

    def arrived(self, client: Client) -> None:
        """A message came."""
        self._relayed += 1
        if self._is_flood:
            client.came += 1
            if client.came >= self._messages_a_turn:
                self._turn(client)
        elif client.partner is not None:
            self._latencies.append(time.perf_counter() - client.partner.sent_at)

    def _turn(self, client: Client) -> None:
        client.came = 0
        client.send(client.description if self._messages_a_turn == 1 else client.negotiation)

    def close(self) -> None:
        """Cut every socket."""
        for client in self._clients:
            client.transport.abort()
