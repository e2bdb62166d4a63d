"""A backbone in a process of its own, for tests: it says who it is on stdout and obeys lines on stdin.

    python -m tests.hub.backbone.node_process DATA [--listen=MULTIADDR ...] [BOOTSTRAP ...]

Every line in and out is JSON. It serves `/digm/pin/1.0.0` (gives the request back, reversed; `b"fail"`
makes its handler raise), grants of no vault, the manifests and the chunks of the catalogue in DATA; gossip
that starts with `lie` is not valid to it, and what starts with `old` is nobody's fault.
"""

import asyncio
import base64
import contextlib
import json
import resource
import sys
from pathlib import Path
from typing import Any

from digm.backbone_messages import MANIFEST, PIN
from digm.errors import DigmError, Unavailable
from digm.ids import to_hex
from hub.backbone.backbone import Backbone
from hub.backbone.identity import NodeIdentity
from hub.backbone.settings import BackboneSettings
from hub.granting.carrying import GrantCarrier
from hub.granting.links import VaultLinks
from hub.logs import configure_logs
from hub.pinning.covers import serve_covers
from hub.seeding.chunk_cache import ChunkCache
from hub.seeding.held_tracks import Library
from hub.storage.catalogue import Catalogue
from hub.storage.chunk_store import ChunkStore

RESIDENT = 1
LISTEN = "--listen="


async def reversed_answer(_peer: str, request: bytes) -> bytes:
    if request == b"fail":
        raise RuntimeError("as asked")
    if request == b"nothing":
        raise Unavailable("nothing_here", "Nothing is here.")
    return request[::-1]


async def cancelled(manager: Any) -> None:
    manager.cancel()


class Node:
    def __init__(self, data: Path, words: list[str]) -> None:
        self.heard: list[str] = []
        listen = tuple(word.removeprefix(LISTEN) for word in words if word.startswith(LISTEN))
        settings = BackboneSettings(
            bootstrap=tuple(word for word in words if not word.startswith(LISTEN)),
            listen=listen or BackboneSettings.listen,
        )
        self.backbone = Backbone(NodeIdentity.load(data), settings)
        self.backbone.on_gossip = self.judge
        self.backbone.serve(
            PIN.name, reversed_answer, most_bytes=PIN.most_request_bytes, timeout_s=5.0, parallel=32
        )
        GrantCarrier(self.backbone, VaultLinks()).serve()
        with contextlib.suppress(DigmError):
            store = ChunkStore(data)
            library = Library(Catalogue.open(data, create=False), store)
            library.refresh()
            cache = ChunkCache(store, 1 << 24)

            async def find(root: bytes) -> Any:
                return library.tracks.get(to_hex(root))

            async def manifest(_peer: str, root: bytes) -> bytes:
                return await asyncio.to_thread(store.manifest, to_hex(root))

            self.backbone.share(find, cache.read)
            self.backbone.serve(
                MANIFEST.name, manifest, most_bytes=MANIFEST.most_request_bytes, timeout_s=5.0, parallel=8
            )
            serve_covers(self.backbone, store)

    def judge(self, _author: str, payload: bytes) -> bool | None:
        if payload.startswith((b"lie", b"old")):
            return None if payload.startswith(b"old") else False
        self.heard.append(payload[:60].rstrip(b"\0").decode())
        return True

    async def obey(self, command: str, *arguments: str) -> Any:
        match command:
            case "status":
                return {
                    "peers": [peer.peer_id for peer in self.backbone.peers()],
                    "heard": self.heard,
                    "restarts": self.backbone.restarts,
                    "resident_bytes": int(Path("/proc/self/statm").read_text().split()[RESIDENT])
                    * resource.getpagesize(),
                }
            case "publish":
                return await self.backbone.publish(arguments[0].encode())
            case "provide":
                return await self.backbone.provide(bytes.fromhex(arguments[0]))
            case "crash":
                host: Any = self.backbone._host
                return await self.backbone._call(cancelled, host.network.manager)
        raise ValueError(command)


async def main() -> None:
    configure_logs("node")
    node = Node(Path(sys.argv[1]), sys.argv[2:])
    await node.backbone.start()
    say({"peer_id": node.backbone.peer_id, "multiaddrs": node.backbone.multiaddrs})
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer
    )
    while line := await lines.readline():
        try:
            say({"result": await node.obey(*json.loads(line))})
        except Exception as error:
            say({"error": repr(error)})
    await node.backbone.stop()


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message, default=lambda raw: base64.b64encode(raw).decode()), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
