"""Attacks on streams: their negotiation, and the protocols of DIGM."""

import os
from typing import Any

import trio

from digm.backbone_messages import AUDIT, COVER, GRANT, MANIFEST, PEER, PIN
from digm.bitfield import Bitfield
from digm.wire import Hello, Request, encode
from tests.hub.backbone.attacks.victim import Victim, prefixed, shrug


async def idle_streams(victim: Victim) -> None:
    """Streams that stop in the middle of their negotiation."""

    async def begin(host: Any) -> None:
        muxer = victim.muxer(host)
        for _ in range(60):
            stream = await shrug(muxer.open_stream)
            if not isinstance(stream, Exception):
                await shrug(stream.write, prefixed(b"/multistream/1.0.0\n")[:7])

    await victim.hold(begin)


async def negotiation_garbage(victim: Victim) -> None:
    """Protocol names that are none, endless, or not text."""
    hello = prefixed(b"/multistream/1.0.0\n")
    openings = [
        os.urandom(500),
        hello + prefixed(os.urandom(900)),
        hello + b"\xff\xff\xff\xff\x7f",
        hello + prefixed(b"/" + b"x" * 60_000 + b"\n"),
        hello + prefixed(b"ls\n") * 50,
        hello + prefixed(b"\xff\xfe\n"),
        prefixed(b"/multistream/9.9.9\n"),
        prefixed(b""),
    ]
    async with victim.connected() as host:
        muxer = victim.muxer(host)
        for opening in openings * 6:
            stream = await shrug(muxer.open_stream)
            if isinstance(stream, Exception):
                return
            await shrug(stream.write, opening)
            await shrug(stream.close)


async def handler_exceptions(victim: Victim) -> None:
    """A request that makes the handler of a protocol raise, over and over."""
    async with victim.connected() as host:
        for _ in range(100):
            stream = await shrug(victim.stream, host, PIN.name)
            if isinstance(stream, Exception):
                continue
            await shrug(stream.write, prefixed(b"fail"))
            with trio.move_on_after(1):
                await shrug(stream.read, 100)
            await shrug(stream.reset)


async def request_abuse(victim: Victim) -> None:
    """Frames that are too long, end too soon, never come, or come a byte at a time."""
    async with victim.connected() as host:
        openings = [b"\xff\xff\xff\x7f", b"\xff" * 9, b"\x81\x00", prefixed(bytes(PIN.most_request_bytes + 1)),
                    b"\x64" + bytes(10), b"", b"\x05h"]  # fmt: skip
        for protocol in (PIN, MANIFEST, COVER, AUDIT, GRANT, PEER):
            for opening in openings:
                stream = await shrug(victim.stream, host, protocol.name)
                if not isinstance(stream, Exception):
                    await shrug(stream.write, opening)
                    if opening[:1] != b"\x05":
                        await shrug(stream.close)


async def session_abuse(victim: Victim) -> None:
    """A peer session of a track that is held: garbage, another shape, requests without end, and no reading."""
    async with victim.connected() as host:
        root = victim.track_root
        wrong_shape = encode(Hello(root, {0: Bitfield(60_000)}))
        for message in (os.urandom(200), b"\x01" * 60, bytes(1), wrong_shape, b"\x08\xff"):
            stream = await shrug(victim.stream, host, PEER.name)
            if not isinstance(stream, Exception):
                await shrug(stream.write, prefixed(root) + prefixed(message) * 5)
        for _ in range(20):
            stream = await shrug(victim.stream, host, PEER.name)
            if isinstance(stream, Exception):
                continue
            hello = prefixed(encode(Hello(root, {0: Bitfield(4), 1: Bitfield(4)})))
            requests = b"".join(prefixed(encode(Request(n, 0, n % 4, 0, 1))) for n in range(1, 400))
            await shrug(stream.write, prefixed(root) + hello + requests)
        await trio.sleep(0.3)


async def grant_abuse(victim: Victim) -> None:
    """Grants without end: of artists who are not here, for keys that are none, in requests of every length."""
    async with victim.connected() as host:
        for number in range(300):
            stream = await shrug(victim.stream, host, GRANT.name)
            if isinstance(stream, Exception):
                continue
            is_whole = number % 5 != 0
            size = 96 if is_whole else number % 96
            await shrug(stream.write, prefixed(os.urandom(32) + victim.track_root + bytes(32))[: 1 + size])
            if is_whole:
                with trio.move_on_after(1):
                    await shrug(stream.read, 100)
                await shrug(stream.close)


ATTACKS = (idle_streams, negotiation_garbage, handler_exceptions, request_abuse, session_abuse, grant_abuse)
