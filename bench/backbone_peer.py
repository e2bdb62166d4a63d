"""One node for bench/backbone.py: our backbone, or plain TCP as its measure. Lines of JSON in and out.

python -m bench.backbone_peer digm|digm-quic|tcp
"""

import asyncio
import hashlib
import json
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from digm.announcements import Announcement, encode_announcement, parse_announcement
from digm.bitfield import Bitfield
from digm.errors import DigmError
from digm.ids import from_hex, to_hex
from digm.manifest import Rendition
from digm.media import AudioConfig
from hub.backbone.backbone import Backbone
from hub.backbone.identity import NodeIdentity
from hub.backbone.settings import BackboneSettings
from hub.logs import configure_logs
from hub.signatures import verify

CHUNK_BYTES, FRAMES = 524_288, 8
PARALLEL = 4
STREAMINFO = bytes.fromhex("10001000000000000000 0ac442f0 00000000" + "00" * 16)
ROOT = bytes.fromhex("5a" * 32)


def chunk_of(number: int) -> bytes:
    return hashlib.shake_256(str(number).encode()).digest(CHUNK_BYTES)


def now_us() -> int:
    """Of the clock that all processes of the machine share."""
    return time.monotonic_ns() // 1_000


class Track:
    """So many chunks in memory, in the shape of a track."""

    def __init__(self, count: int) -> None:
        self.chunks = {hashlib.sha256(chunk).hexdigest(): chunk for chunk in map(chunk_of, range(count))}
        self._names = list(self.chunks)
        config = AudioConfig("flac", 44_100, 2, 16, 44_100, STREAMINFO, 0, 0)
        self.renditions: Sequence[Rendition] = (
            Rendition(0, config, 1, FRAMES, FRAMES, 1, b"", tuple(map(from_hex, self._names)), ()),
        )
        self.held: Mapping[int, Bitfield] = {0: Bitfield.full(count)}

    def chunk_hash(self, _rendition: int, chunk: int) -> str:
        return self._names[chunk]


class Digm:
    """Our own node."""

    listen = BackboneSettings.listen

    def __init__(self) -> None:
        settings = BackboneSettings(listen=self.listen)
        self.backbone = Backbone(NodeIdentity(secrets.token_bytes(32)), settings)
        self.backbone.on_gossip = self.judge
        self.backbone.share(self._track, self._read)
        self.heard_at: list[tuple[str, int, int]] = []
        self.tracks: dict[bytes, Track] = {}

    async def start(self) -> dict[str, Any]:
        await self.backbone.start()
        return {"peer_id": self.backbone.peer_id, "multiaddrs": self.backbone.multiaddrs}

    def judge(self, _author: str, payload: bytes) -> bool:
        try:
            said = parse_announcement(payload, time.time(), verify)
        except DigmError:
            return False
        self.heard_at.append((to_hex(said.node), said.sequence, now_us()))
        return True

    async def _track(self, root: bytes) -> Track | None:
        return self.tracks.get(root)

    async def _read(self, name: str) -> bytes:
        return next(iter(self.tracks.values())).chunks[name]

    async def connect(self, address: str) -> None:
        await self.backbone.connect(address)

    async def neighbours(self) -> int:
        return len(self.backbone.peers())

    async def shout(self) -> int:
        sequence, now_s, identity = now_us(), int(time.time()), self.backbone.identity
        announcement = Announcement(
            node=identity.node_key, instance=bytes(16), track_root=ROOT, manifest_hash=ROOT,
            held={0: Bitfield.full(1_200)}, operator="a stranger", network="AS 64496", sequence=sequence,
            issued_at=now_s, valid_until=now_s + 3_600, multiaddrs=tuple(self.backbone.multiaddrs),
        )  # fmt: skip
        await self.backbone.publish(encode_announcement(announcement, identity.sign))
        return sequence

    async def heard(self) -> list[tuple[str, int, int]]:
        return self.heard_at

    async def provide(self, key: str) -> bool:
        return await self.backbone.provide(from_hex(key))

    async def find(self, key: str) -> tuple[int, int] | None:
        """Microseconds until one who provides it was known, and all; each answered a call. None: nobody."""
        began, found_at = now_us(), list[int]()
        await self.backbone.find_providers(from_hex(key), on_found=lambda _: found_at.append(now_us()))
        return (found_at[0] - began, now_us() - began) if found_at else None

    async def hold(self, root: str, count: int) -> None:
        self.tracks[from_hex(root)] = Track(count)

    async def fetch(self, address: str, root: str, hashes: list[str]) -> int:
        began, queue = now_us(), list(enumerate(hashes))[::-1]
        peer = address.rpartition("/p2p/")[2]

        async def some() -> None:
            while queue:
                number, name = queue.pop()
                chunk = await self.backbone.fetch_chunk(peer, from_hex(root), 0, number, CHUNK_BYTES)
                _check(chunk, name)

        await asyncio.gather(*(some() for _ in range(PARALLEL)))
        return now_us() - began


class DigmQuic(Digm):
    """The same over QUIC."""

    listen = ("/ip4/127.0.0.1/udp/0/quic-v1",)


class Tcp:
    """The measure: the same chunks over a socket, four asked for at once, hashed when they are there."""

    async def start(self) -> dict[str, Any]:
        self.chunks: list[bytes] = []
        self.server = await asyncio.start_server(self._give, "127.0.0.1", 0)
        return {"peer_id": "", "multiaddrs": [str(self.server.sockets[0].getsockname()[1])]}

    async def _give(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while number := await reader.read(4):
            writer.write(self.chunks[int.from_bytes(number)])
            await writer.drain()
        writer.close()

    async def connect(self, address: str) -> None:
        self.stream = await asyncio.open_connection("127.0.0.1", int(address), limit=PARALLEL * CHUNK_BYTES)

    async def hold(self, _root: str, count: int) -> None:
        self.chunks = [chunk_of(number) for number in range(count)]

    async def fetch(self, _peer: str, _root: str, hashes: list[str]) -> int:
        reader, writer = self.stream
        began = now_us()
        for number in range(min(PARALLEL, len(hashes))):
            writer.write(number.to_bytes(4))
        for number, name in enumerate(hashes):
            _check(await reader.readexactly(CHUNK_BYTES), name)
            if number + PARALLEL < len(hashes):
                writer.write((number + PARALLEL).to_bytes(4))
        return now_us() - began


def _check(chunk: bytes, name: str) -> None:
    if hashlib.sha256(chunk).hexdigest() != name:
        raise ValueError("not the chunk that was asked for")


async def main() -> None:
    configure_logs("bench")
    peer: Any = {"digm": Digm, "digm-quic": DigmQuic, "tcp": Tcp}[sys.argv[1]]()
    say(await peer.start())
    lines = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer
    )
    while line := await lines.readline():
        command, *words = json.loads(line)
        try:
            say({"result": await getattr(peer, command)(*words)})
        except Exception as error:
            say({"error": repr(error)})


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
