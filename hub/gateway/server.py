"""The gateway's process: the application on Hypercorn, HTTP/1.1 and HTTP/2 (with TLS by ALPN, without by prior
knowledge, RFC 9113 §3.3)."""

import asyncio
import logging
import socket

import structlog
from hypercorn.asyncio import serve as serve_hypercorn
from hypercorn.config import Config

from digm.errors import CallerFault
from hub.config import Settings
from hub.gateway.app import Gateway
from hub.gateway.http2 import forget_late_bodies
from hub.lifecycle import cannot_listen
from hub.storage.chunk_store import ChunkStore

log = structlog.get_logger()
DRAIN_S = 3.0
BACKLOG = 512


def hypercorn_config(settings: Settings, listening: socket.socket) -> Config:
    """Hypercorn's settings, where its defaults would hurt.

    Raises:
        CallerFault: `bad_certificate`.
    """
    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.errorlog = logging.getLogger("hypercorn.error")
    config.backlog = BACKLOG
    # At the default of 1000 requests Hypercorn cuts an HTTP/2 connection in the middle of other answers.
    config.keep_alive_max_requests = 10**9
    # One stream too many ends the whole connection instead of being refused.
    config.h2_max_concurrent_streams = 256
    # Longer heads are refused: 431, and GOAWAY with ENHANCE_YOUR_CALM (docs/settings.md).
    config.h11_max_incomplete_size = 8 * 1024
    config.h2_max_header_list_size = 16 * 1024
    config.keep_alive_timeout = 30
    # Counts while a slow client only receives, too: short enough for the dead, long enough for 30 kbit/s.
    config.read_timeout = 300
    config.ssl_handshake_timeout = 10
    config.graceful_timeout = DRAIN_S
    config.shutdown_timeout = DRAIN_S
    config.include_server_header = False
    if settings.gateway_cert and settings.gateway_key:
        config.certfile, config.keyfile = str(settings.gateway_cert), str(settings.gateway_key)
        try:
            config.create_ssl_context()
        except OSError as error:  # ssl.SSLError is one
            raise CallerFault(
                "bad_certificate", f"DIGM_GATEWAY_CERT and DIGM_GATEWAY_KEY cannot be used together: {error}."
            ) from error
    return config


def bind(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Raises:
        CallerFault: `port_in_use`, `cannot_listen`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise cannot_listen(host, port, error) from error
    return listening


async def serve(settings: Settings, stop: asyncio.Event, listening: socket.socket | None = None) -> None:
    """Run the gateway until `stop` is set, then let running answers finish.

    Args:
        listening: a socket that is bound already (tests); else one is made from the settings.
    """
    forget_late_bodies()
    gateway = Gateway(ChunkStore(settings.data, settings.verify_reads), settings.gateway_cache_bytes)
    listening = listening or bind(settings.host, settings.gateway_port)
    port = listening.getsockname()[1]
    config = hypercorn_config(settings, listening)
    log.info("gateway_listening", host=settings.host, port=port, tls=config.ssl_enabled)
    await serve_hypercorn(gateway, config, shutdown_trigger=stop.wait, mode="asgi")  # type: ignore[arg-type]
