"""Where a track comes from, in a process of its own, for tests: holds it, announces it, takes no orders itself.

    python -m tests.hub.node.origin_process DATA [CHUNKS]

It says who it is and what it holds, then obeys lines on stdin; every line in and out is JSON.
"""

import asyncio
import hashlib
import json
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from digm.errors import DigmError
from digm.ids import from_hex, to_hex
from digm.node_ids import node_of
from digm.pinning import parse_pin_answer
from hub.logs import configure_logs
from hub.pinning.pinner import PROTOCOL
from hub.signatures import verify
from tests.hub.node.music import CHUNK, Elsewhere
from tests.hub.pinning.swarm import order_for
from tests.hub.pinning.test_on_libp2p import RealNode, real_node


class Origin:
    def __init__(self, node: RealNode, track: Elsewhere, artist: Path) -> None:
        self.node, self.track, self.artist = node, track, artist
        self.order = b""

    async def obey(self, command: str, *arguments: Any) -> Any:
        network = self.node.backbone
        match command:
            case "order":
                replicas, sequence = arguments
                self.order = order_for(self.track, self.artist, replicas, time.time(), sequence)
                return to_hex((await self.node.pinner.place(self.order)).order_id)
            case "pin":
                answer = await network.request(
                    arguments[0], PROTOCOL, self.order, timeout_s=10.0, most_bytes=1024
                )
                return parse_pin_answer(answer, time.time(), verify).state.value
            case "fetch":
                peer, rendition, chunk = arguments
                root = from_hex(self.track.root)
                data = await network.fetch_chunk(peer, root, rendition, chunk, CHUNK)
                return hashlib.sha256(data).hexdigest()
            case "audit":
                outcome = await self.node.auditor.audit(node_of(arguments[0]))
                return outcome and outcome.value
            case "providers":
                return [found.peer_id for found in await network.find_providers(from_hex(self.track.root))]
            case "holders":
                claims = self.node.herald.ledger.of_track(from_hex(self.track.root), time.time())
                return {to_hex(claim.node): claim.share for claim in claims}
            case "forget":  # be no source any more
                self.node.store.forget(self.track.root)
                return await self.node.herald.announce()
        raise ValueError(command)

    async def live(self) -> None:
        while True:
            try:
                await self.node.turn()
            except DigmError as error:
                print(error, file=sys.stderr)
            await asyncio.sleep(0.2)


async def main() -> None:
    configure_logs("origin")
    data, chunks = Path(sys.argv[1]), int(sys.argv[2])
    async with AsyncExitStack() as stack:
        node = await real_node(stack, data / "origin", False)
        track = Elsewhere(data / "artist", chunk_count=chunks, cover=b"\xff\xd8\xff a picture")
        track.give(node.store)
        track.give_cover(node.store)
        origin = Origin(node, track, data / "artist")
        turns = asyncio.create_task(origin.live())
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer
        )
        say({
            "peer_id": node.backbone.peer_id, "multiaddr": node.backbone.multiaddrs[0],
            "track_root": track.root, "hashes": track.hashes, "cover": track.cover,
        })  # fmt: skip
        while line := await lines.readline():
            try:
                say({"result": await origin.obey(*json.loads(line))})
            except Exception as error:
                say({"error": repr(error)})
        turns.cancel()


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
