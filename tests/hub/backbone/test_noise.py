"""Our noise session against itself and against py-libp2p's, in memory."""

import random
from typing import Any

import pytest
import trio
import trio.testing
from cryptography.exceptions import InvalidTag
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.peer.id import ID
from libp2p.security.noise.transport import Transport

from hub.backbone.noise import NoiseTransport

PATIENCE_S = 20.0


class Raw:
    """One end of a connection below noise."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    async def read(self, n: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(n))

    async def write(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def close(self) -> None:
        await self.stream.aclose()


async def shaken(first: type[Transport], second: type[Transport], raw: Any = Raw) -> tuple[Any, Any, Any]:
    """Two sessions after their handshake, and the second's end of the link."""
    ours, theirs = trio.testing.memory_stream_pair()
    keys = [create_new_key_pair() for _ in range(2)]
    sides = [
        kind(pair, noise_privkey=create_noise_key_pair().private_key)
        for kind, pair in zip((first, second), keys, strict=True)
    ]
    sessions: dict[int, Any] = {}

    async def call() -> None:
        sessions[0] = await sides[0].secure_outbound(raw(ours), ID.from_pubkey(keys[1].public_key))

    async with trio.open_nursery() as tasks:
        tasks.start_soon(call)
        sessions[1] = await sides[1].secure_inbound(raw(theirs))
    return sessions[0], sessions[1], ours


async def exactly(session: Any, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += await session.read(min(count - len(data), 5_000))
    return data


@pytest.mark.parametrize(
    ("first", "second"),
    [(NoiseTransport, NoiseTransport), (NoiseTransport, Transport), (Transport, NoiseTransport)],
)
def test_any_sizes_cross_both_ways(first: type[Transport], second: type[Transport]) -> None:
    dice = random.Random(4)
    sizes = [1, 2, 65_518, 65_519, 65_520, 65_535, 131_039, *(dice.randrange(1, 300_000) for _ in range(10))]

    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            left, right, _ = await shaken(first, second)
            for sender, taker in ((left, right), (right, left)):
                for size in sizes:
                    data = dice.randbytes(size)
                    await sender.write(data)
                    assert await exactly(taker, size) == data
            assert left.get_remote_peer() != right.get_remote_peer()

    trio.run(main)


def test_messages_are_opened_wherever_the_connection_cuts_them() -> None:
    class Crumbs(Raw):
        async def read(self, n: int | None = None) -> bytes:
            return await super().read(min(n or 1_009, 1_009))

    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            left, right, _ = await shaken(NoiseTransport, NoiseTransport, Crumbs)
            data = random.Random(1).randbytes(200_000)
            await left.write(data)
            assert await exactly(right, len(data)) == data

    trio.run(main)


def test_what_was_changed_on_the_way_is_not_read_and_the_end_is_nothing() -> None:
    async def main() -> None:
        with trio.fail_after(PATIENCE_S):
            left, right, _ = await shaken(NoiseTransport, NoiseTransport)
            await left.close()
            assert await right.read() == b""
            left, right, link = await shaken(NoiseTransport, NoiseTransport)
            await link.send_all(b"\x00\x20" + bytes(32))
            with pytest.raises(InvalidTag):
                await right.read()

    trio.run(main)
