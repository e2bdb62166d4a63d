"""The gateway's process: the application on Hypercorn (HTTP/1.1 and HTTP/2, with TLS by ALPN, without by prior
knowledge, RFC 9113 §3.3) and on aioquic (HTTP/3)."""

import asyncio
import logging
import socket
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from hypercorn.asyncio import serve as serve_hypercorn
from hypercorn.config import Config

from hub.config import Settings
from hub.gateway.app import Gateway
from hub.gateway.certificate import certificate_files
from hub.gateway.http2 import forget_late_bodies
from hub.gateway.quic import BoundedQuicServer, quic_configuration
from hub.gateway.shelf import Shelf
from hub.gateway.sockets import BACKLOG, GatewaySockets, bind_for_workers
from hub.gateway.tcp import bound_connections
from hub.gateway.workers import supervise
from hub.storage.chunk_store import ChunkStore
from hub.storage.uses import telling_chunks

log = structlog.get_logger()
DRAIN_S = 3.0
IDLE_WITHIN_S = 30
ALT_SVC_LIFETIME_S = 86_400


def hypercorn_config(sockets: GatewaySockets, files: tuple[Path, Path] | None) -> Config:
    """Hypercorn's settings, where its defaults would hurt.

    Args:
        files: certificate chain and key for `sockets.tls`.
    """
    config = Config()
    plain, tls = _handed_over(sockets.plain), _handed_over(sockets.tls)
    config.bind, config.insecure_bind = (tls, plain) if tls else (plain, [])
    config.errorlog = logging.getLogger("hypercorn.error")
    config.backlog = BACKLOG
    # At the default of 1000 requests Hypercorn cuts an HTTP/2 connection in the middle of other answers.
    config.keep_alive_max_requests = 10**9
    # One stream too many ends the whole connection instead of being refused.
    config.h2_max_concurrent_streams = 256
    # Longer heads are refused: 431, and GOAWAY with ENHANCE_YOUR_CALM (docs/settings.md).
    config.h11_max_incomplete_size = 8 * 1024
    config.h2_max_header_list_size = 16 * 1024
    # For the head of a request too: who sends it drop by drop is as idle.
    config.keep_alive_timeout = IDLE_WITHIN_S
    # Counts while a slow client only receives, too: short enough for the dead, long enough for 30 kbit/s.
    config.read_timeout = 300
    config.ssl_handshake_timeout = 10
    config.graceful_timeout = DRAIN_S
    config.shutdown_timeout = DRAIN_S
    config.include_server_header = False
    if tls and files:
        config.certfile, config.keyfile = map(str, files)
    return config


def _handed_over(item: socket.socket | None) -> list[str]:
    return [f"fd://{item.detach()}"] if item else []


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    listening: socket.socket | None = None,
    sockets: GatewaySockets | None = None,
    shelf: Shelf | None = None,
    store: ChunkStore | None = None,
) -> None:
    """Run the gateway until `stop` is set, then let running answers finish.

    Args:
        listening: a TCP socket that is bound already (tests).
        sockets: those of this worker; else they are made from the settings, and so are the workers.
        shelf: from which the server in front of this worker takes chunks.
        store: read in place of one of our own; of no use to workers that are made here.
    Raises:
        CallerFault: `port_in_use`, `cannot_listen`, `bad_certificate`, `nginx_missing`, `nginx_refused`.
        Unavailable: `nginx_failed`.
    """
    files = certificate_files(settings)  # refused, or made, before anything is bound
    if settings.gateway_tcp == "granian":
        from hub.gateway.granian import check_installed

        check_installed()
    if listening is not None:
        is_tls = settings.gateway_cert is not None
        sockets = GatewaySockets(None if is_tls else listening, listening if is_tls else None, None)
    elif sockets is None and settings.gateway_tcp == "nginx":
        from hub.gateway.nginx import serve_behind_nginx

        await serve_behind_nginx(settings, stop, files)
        return
    elif sockets is None and settings.gateway_workers > 1:
        await supervise(settings, stop)
        return
    elif sockets is None:
        [sockets] = bind_for_workers(settings)
    if store is not None:
        await _serve_alone(settings, stop, sockets, files, shelf, store)
        return
    async with telling_chunks(settings.data, settings.verify_reads) as own:
        await _serve_alone(settings, stop, sockets, files, shelf, own)


async def _serve_alone(
    settings: Settings,
    stop: asyncio.Event,
    sockets: GatewaySockets,
    files: tuple[Path, Path] | None,
    shelf: Shelf | None,
    store: ChunkStore,
) -> None:
    forget_late_bodies()
    bound_connections()
    port, tls_port, quic_port = sockets.ports()
    is_granian = settings.gateway_tcp == "granian"
    gateway = Gateway(store, settings.gateway_cache_bytes, alt_svc(settings, quic_port), shelf, is_granian)
    log.info("gateway_listening", host=settings.host, port=port, tls_port=tls_port, quic_port=quic_port)
    quic = await _start_quic(gateway, sockets.quic, files)
    try:
        if is_granian:
            from hub.gateway.granian import serve_granian

            await serve_granian(gateway, sockets, files, stop)
        else:
            config = hypercorn_config(sockets, files)
            await serve_hypercorn(gateway, config, shutdown_trigger=stop.wait, mode="asgi")  # type: ignore[arg-type]
    finally:
        if quic is not None:
            await quic.drain(DRAIN_S)


async def _start_quic(
    gateway: Gateway, listening: socket.socket | None, files: tuple[Path, Path] | None
) -> BoundedQuicServer | None:
    if listening is None or files is None:
        return None
    configuration = quic_configuration(*files)
    _, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: BoundedQuicServer(gateway, configuration), sock=listening
    )
    return server


def alt_svc(settings: Settings, quic_port: int | None) -> str | None:
    """What tells clients of HTTP/3 (RFC 7838): the port that they see, which may be another than ours."""
    if quic_port is None:
        return None
    public = urlsplit(settings.gateway_url or "")
    port = (public.port or 443) if public.scheme == "https" else quic_port
    return f'h3=":{port}"; ma={ALT_SVC_LIFETIME_S}'
