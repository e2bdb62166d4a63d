"""The gateway's application for another ASGI server, with `--factory hub.gateway.asgi:application`.

Without Hypercorn there are no limits of Hypercorn's: connections, slow heads and resets are that server's
business. What is counted in the application itself (`hub.gateway.budget`) holds everywhere.
"""

from hub.config import load_settings
from hub.gateway.app import Gateway
from hub.storage.chunk_store import ChunkStore


def application() -> Gateway:
    """An application over the data folder that the environment names.

    Raises:
        CallerFault: `bad_setting`.
    """
    settings = load_settings()
    store = ChunkStore(settings.data, settings.verify_reads)
    return Gateway(store, settings.gateway_cache_bytes, in_pieces=True)
