"""Attacks on yamux: frames that its specification does not allow, from a peer with a good key."""

import os
import struct

import trio

from tests.hub.backbone.attacks.victim import Victim, shrug

HEADER = struct.Struct("!BBHII")
DATA, WINDOW, PING, GO_AWAY = 0, 1, 2, 3
SYN, ACK, FIN, RST = 1, 2, 4, 8


async def stream_flood(victim: Victim) -> None:
    """Opens streams and says nothing on them."""
    async with victim.connected() as host:
        muxer = victim.muxer(host)
        for number in range(2_000):
            if isinstance(
                await shrug(muxer._write_frame, HEADER.pack(0, WINDOW, SYN, 10_001 + 2 * number, 0)), Exception
            ):
                return
        await trio.sleep(0.5)


async def window_overrun(victim: Victim) -> None:
    """Sends without end on a stream that nobody reads."""
    async with victim.connected() as host:
        muxer = victim.muxer(host)
        await muxer._write_frame(HEADER.pack(0, WINDOW, SYN, 20_001, 0))
        block = bytes(60_000)
        for _ in range(1_500):  # 90 MB
            frame = HEADER.pack(0, DATA, 0, 20_001, len(block)) + block
            if isinstance(await shrug(muxer._write_frame, frame), Exception):
                return


async def muxer_garbage(victim: Victim) -> None:
    """Unknown types and versions, lengths that lie, windows that overflow, acknowledgements of nothing."""
    frames = [
        os.urandom(1_200),
        HEADER.pack(9, 9, 0xFFFF, 0, 0),
        HEADER.pack(0, DATA, 0, 1, 0xFFFF_FFFF),
        HEADER.pack(0, WINDOW, 0, 1, 0xFFFF_FFFF) * 50,
        HEADER.pack(0, WINDOW, SYN, 0, 0) + HEADER.pack(0, WINDOW, SYN, 0, 0),
        HEADER.pack(0, DATA, ACK, 4_242, 0) + HEADER.pack(0, WINDOW, FIN | RST, 4_242, 7),
        HEADER.pack(0, DATA, SYN | RST, 4_245, 3) + b"abc",
        HEADER.pack(0, PING, ACK, 0, 99) * 100,
        HEADER.pack(0, GO_AWAY, 0, 0, 77),
        HEADER.pack(0, DATA, SYN, 4_247, 16_000_000) + bytes(1_000),
    ]
    for frame in frames:
        async with victim.connected() as host:
            await shrug(victim.muxer(host)._write_frame, frame)
            await trio.sleep(0.05)


ATTACKS = (stream_flood, window_overrun, muxer_garbage)
