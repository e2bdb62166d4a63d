"""Two QUIC connections joined in memory by a line that loses, delays and reorders, on a clock that jumps."""

import heapq
import itertools
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

import trio
import trio.testing
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from multiaddr import Multiaddr  # type: ignore[import-untyped]

from hub.backbone.quic.bounded import BoundedQuic, configuration
from hub.backbone.quic.connection import QuicMuxer

HERE, THERE = ("192.0.2.1", 4001), ("192.0.2.2", 4001)
CALLER, CALLED = create_new_key_pair(bytes(range(32))), create_new_key_pair(bytes(range(1, 33)))
SOMEWHERE = Multiaddr("/ip4/192.0.2.2/udp/4001/quic-v1")
MOST_STREAMS = 8


@dataclass
class Line:
    """Attributes:
    lost: share of datagrams, between 0 and 1.
    delay_s: the shortest and the longest of one way.
    is_cut: nothing arrives any more.
    """

    lost: float = 0.0
    delay_s: tuple[float, float] = (0.01, 0.01)
    is_cut: bool = False
    dice: random.Random = field(default_factory=lambda: random.Random(1))


@dataclass
class _Way:
    """One direction: what is under way, by when it arrives and in the order in which it was sent."""

    datagrams: list[tuple[float, int, bytes]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    news: trio.Event = field(default_factory=trio.Event)


@dataclass
class Pair:
    caller: QuicMuxer
    called: QuicMuxer
    line: Line


def joined(line: Line, talk: Callable[[Pair], Awaitable[None]], *, expected: ID | None = None) -> None:
    """Run `talk` with two ends that have shaken hands, or that have found out that they will not."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await talk(await _connected(line, nursery, expected or ID.from_pubkey(CALLED.public_key)))
            nursery.cancel_scope.cancel()

    clock = trio.testing.MockClock(autojump_threshold=0)
    clock.jump(1_000)
    trio.run(main, clock=clock)


async def _connected(line: Line, nursery: trio.Nursery, expected: ID) -> Pair:
    ends: dict[tuple[str, int], QuicMuxer] = {}

    async def carry(sender: tuple[str, int], receiver: tuple[str, int], way: _Way) -> None:
        while True:
            while way.datagrams and way.datagrams[0][0] <= trio.current_time():
                ends[receiver].receive(heapq.heappop(way.datagrams)[2], sender)
                ends[receiver].settle()
            way.news = trio.Event()
            with trio.move_on_at(way.datagrams[0][0] if way.datagrams else math.inf):
                await way.news.wait()

    def wire(sender: tuple[str, int], receiver: tuple[str, int]) -> Callable[[bytes, object], None]:
        way = _Way()
        nursery.start_soon(carry, sender, receiver, way)

        def send(data: bytes, _to: object) -> None:
            if not line.is_cut and line.dice.random() >= line.lost:
                due = trio.current_time() + line.dice.uniform(*line.delay_s)
                heapq.heappush(way.datagrams, (due, next(way.numbers), data))
                way.news.set()

        return send

    def quic(is_client: bool, **options: object) -> BoundedQuic:
        key = (CALLER if is_client else CALLED).private_key
        settings = configuration(key, is_client=is_client)
        return BoundedQuic(configuration=settings, most_streams=MOST_STREAMS, **options)

    calling = quic(True)
    named = {"original_destination_connection_id": calling.original_destination_connection_id}
    caller = ends[HERE] = QuicMuxer(calling, wire(HERE, THERE), expected, SOMEWHERE)
    called = ends[THERE] = QuicMuxer(quic(False, **named), wire(THERE, HERE), None, SOMEWHERE)
    calling.connect(THERE, trio.current_time())
    caller.settle()
    nursery.start_soon(caller.run)
    # The other end's clock begins with the first datagram, as at a door.
    while called.get_remote_address() is None:
        await trio.sleep(0.01)
    nursery.start_soon(called.run)
    await caller.event_known.wait()
    await called.event_known.wait()
    return Pair(caller, called, line)
