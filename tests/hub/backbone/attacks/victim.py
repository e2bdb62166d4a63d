"""What attackers need: where the victim is, plain sockets to it, and a py-libp2p that keeps no rules."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE
from libp2p.security.noise.transport import Transport
from multiaddr import Multiaddr


@dataclass
class Victim:
    tcp: str
    websocket: str
    track_root: bytes  # of a track that it holds
    nursery: trio.Nursery  # for what goes on when an attack is done

    @property
    def peer(self) -> ID:
        return info_from_p2p_addr(Multiaddr(self.tcp)).peer_id

    async def socket(self, multiaddr: str = "") -> trio.SocketStream:
        """A TCP connection without a word said."""
        parts = (multiaddr or self.tcp).split("/")
        return await trio.open_tcp_stream(parts[2], int(parts[4]))

    @asynccontextmanager
    async def connected(self, **security: Any) -> AsyncIterator[Any]:
        """A libp2p host with an identity of its own, connected to the victim."""
        pair = create_new_key_pair()
        noise = Transport(pair, noise_privkey=create_noise_key_pair().private_key)
        host = new_host(key_pair=pair, sec_opt=security.get("sec_opt") or {TProtocol(NOISE): noise})
        async with host.run(listen_addrs=[]):
            await host.connect(info_from_p2p_addr(Multiaddr(self.tcp)))
            yield host

    async def hold(self, begin: Callable[[Any], Awaitable[None]]) -> None:
        """Connect and `begin`; the connection stays until the attacker ends."""
        begun = trio.Event()

        async def stay() -> None:
            async with self.connected() as host:
                await begin(host)
                begun.set()
                await trio.sleep_forever()

        self.nursery.start_soon(shrug, stay)
        await begun.wait()

    async def stream(self, host: Any, protocol: str) -> Any:
        return await host.new_stream(self.peer, [TProtocol(protocol)])

    def muxer(self, host: Any) -> Any:
        """The yamux of the connection, to write frames with."""
        return host.get_network().get_connections(self.peer)[0].muxed_conn


async def shrug(function: Any, *arguments: Any) -> Any:
    """An attacker does not mind being refused."""
    try:
        return await function(*arguments)
    except Exception as error:
        return error


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def prefixed(payload: bytes) -> bytes:
    return varint(len(payload)) + payload
