"""One of several gateway processes: `python -m hub.gateway.worker PLAIN TLS QUIC [SHELF BYTES SENT]`.

The first three are descriptors or `-`. Then come a folder, what this process may put there, and the log of what
was sent from it, `-` for those who do not count that.
"""

import asyncio
import sys
from pathlib import Path

from hub.config import load_settings
from hub.gateway.nginx_log import count_for_ever
from hub.gateway.server import serve
from hub.gateway.shelf import Shelf
from hub.gateway.sockets import GatewaySockets
from hub.lifecycle import run_process
from hub.storage.uses import telling_chunks


def main() -> None:
    """Serve on the inherited sockets until SIGTERM."""
    settings = load_settings()
    sockets = GatewaySockets.inherited(sys.argv[1:4])

    async def work(stop: asyncio.Event) -> None:
        shelf, counting = None, None
        async with telling_chunks(settings.data, settings.verify_reads) as store:
            if len(sys.argv) > 4:
                shelf = Shelf(Path(sys.argv[4]), int(sys.argv[5]))
                if sys.argv[6] != "-":
                    counts = count_for_ever(Path(sys.argv[6]), store.note_use)
                    counting = asyncio.create_task(counts, name="count")
            await serve(settings, stop, sockets=sockets, shelf=shelf, store=store)
            if counting is not None:
                counting.cancel()

    run_process("gateway", settings, work)


if __name__ == "__main__":
    main()
