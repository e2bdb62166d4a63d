"""Attacks before anybody is who: plain sockets."""

import os

import trio
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.security.insecure.transport import PLAINTEXT_PROTOCOL_ID, InsecureTransport

from tests.hub.backbone.attacks.victim import Victim, prefixed, shrug


async def plaintext_dialer(victim: Victim) -> None:
    """Offers no encryption; py-libp2p's defaults would take it."""
    plain = {TProtocol(PLAINTEXT_PROTOCOL_ID): InsecureTransport(create_new_key_pair())}
    for _ in range(3):
        try:
            async with victim.connected(sec_opt=plain):
                raise SystemExit("connected in plaintext")
        except Exception as error:
            _ = error
    socket = await victim.socket()
    await socket.send_all(prefixed(b"/multistream/1.0.0\n") + prefixed(b"/plaintext/2.0.0\n"))
    answer = b""
    with trio.move_on_after(5):
        while b"na\n" not in answer and (data := await socket.receive_some(4096)):
            answer += data
    if b"/plaintext/2.0.0" in answer:
        raise SystemExit("plaintext was agreed to")


async def handshake_garbage(victim: Victim) -> None:
    """Random bytes, lengths that lie, and half of a noise handshake."""
    openings = [
        os.urandom(4096),
        b"\xff" * 64,
        prefixed(b"/multistream/1.0.0\n") + b"\xff\xff\xff\xff\x0f",
        prefixed(b"/multistream/1.0.0\n") + prefixed(b"/noise\n") + b"\xff\xff" + os.urandom(65_535),
        prefixed(b"/multistream/1.0.0\n") + prefixed(b"/noise\n") + b"\x00\x00",
        b"",
    ]
    for opening in openings * 20:
        socket = await victim.socket()
        await shrug(socket.send_all, opening)
        await socket.aclose()


async def slow_loris(victim: Victim) -> None:
    """Hundreds of connections that say nothing, or a byte now and then, and stay."""
    sockets = []
    for _ in range(400):
        socket = await shrug(victim.socket)
        if isinstance(socket, trio.SocketStream):
            sockets.append(socket)
    for byte in prefixed(b"/multistream/1.0.0\n")[:4]:
        for socket in sockets:
            await shrug(socket.send_all, bytes([byte]))
        await trio.sleep(0.2)
    HELD.extend(sockets)  # not closed: they hang on while the honest peer asks


HELD: list[trio.SocketStream] = []


async def connection_flood(victim: Victim) -> None:
    """More whole connections, one after another, than a default process takes in its life."""
    places = trio.CapacityLimiter(8)

    async def come_and_go() -> None:
        async with places:
            await shrug(once)

    async def once() -> None:
        async with victim.connected():
            pass

    async with trio.open_nursery() as nursery:
        for _ in range(140):
            nursery.start_soon(come_and_go)


async def websocket_garbage(victim: Victim) -> None:
    """No HTTP, endless headers, an upgrade without sense, frames without a mask, a frame of 2^63 bytes."""
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    openings = [
        os.urandom(2048),
        b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000,
        upgrade.replace(b"13\r\n", b"12\r\n"),
        upgrade.replace(b"Host: x\r\n", b""),
        upgrade + b"\x82\xff" + b"\x7f" + b"\xff" * 7 + bytes(4),
        upgrade + b"\x82\x05hello",
        upgrade + b"\x81\x85" + bytes(4) + b"\xff\xfe\xfd\xfc\xfb",
        upgrade + b"\x88\x81\x00\x00\x00\x00\x00",
        upgrade + b"\x82\x84" + bytes(4) + b"\xff\xff\xff\xff",
        upgrade[:40],
    ]
    for opening in openings * 8:
        socket = await victim.socket(victim.websocket)
        await shrug(socket.send_all, opening)
        with trio.move_on_after(0.05):
            await shrug(socket.receive_some, 1024)
        await socket.aclose()


ATTACKS = (plaintext_dialer, handshake_garbage, slow_loris, connection_flood, websocket_garbage)
