"""The embedded relay: its protocol on its sockets, from start to drain."""

import asyncio
import contextlib
import secrets
import time

import structlog

from hub.config import Settings
from hub.relay.authentication import Authentication
from hub.relay.credentials import load_relay_secret
from hub.relay.limits import RelayLimits
from hub.relay.place import Place
from hub.relay.sockets import (
    ConnectionCounts,
    RelayPorts,
    StreamListener,
    UdpListener,
    bind_tcp,
    bind_udp,
    tls_context,
)
from hub.relay.turn_server import TurnServer

log = structlog.get_logger()
TICK_S = 1.0


def limits_of(settings: Settings) -> RelayLimits:
    """The limits that operators set, over the defaults of those that they do not."""
    return RelayLimits(
        allocations=settings.turn_allocations,
        allocations_per_session=settings.turn_allocations_per_session,
        bytes_per_s=settings.turn_bytes_per_s,
        allocation_bytes_per_s=settings.turn_allocation_bytes_per_s,
    )


class EmbeddedRelay:
    """One relay in this process.

    Args:
        limits: other ones than the settings' (tests).
    """

    def __init__(self, settings: Settings, place: Place, limits: RelayLimits | None = None) -> None:
        self._settings = settings
        self._place = place
        self._limits = limits or limits_of(settings)
        self.is_listening = False

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until `stop` is set.

        Raises:
            CallerFault: `port_in_use`, `cannot_listen`, `bad_certificate`.
        """
        settings = self._settings
        ports = RelayPorts(self._place.hosts, settings.turn_min_port, settings.turn_max_port)
        secret = load_relay_secret(settings.data)
        authentication = Authentication(
            secret, settings.turn_realm, secrets.token_bytes(32), self._limits.nonce_s
        )
        server = ports.server = TurnServer(
            authentication, self._place.rules, self._limits, ports.open,
            time.monotonic(), settings.turn_external_ip or None,
        )  # fmt: skip
        with contextlib.ExitStack() as opened:
            opened.callback(server.close)
            await self._listen(server, opened)
            self.is_listening = True
            log.info("relay_listening", hosts=len(self._place.hosts), port=settings.turn_port)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await stop.wait()
                server.tick(time.monotonic())
            self.is_listening = False

    async def _listen(self, server: TurnServer, opened: contextlib.ExitStack) -> None:
        settings = self._settings
        counts = ConnectionCounts(self._limits)
        opened.callback(counts.abort_all)
        context = None
        if settings.turn_cert and settings.turn_key:
            context = tls_context(str(settings.turn_cert), str(settings.turn_key))
        for host in self._place.hosts:
            opened.callback(UdpListener(bind_udp(host, settings.turn_port), server).close)
            for port, tls in ((settings.turn_port, None), (settings.turn_tls_port, context)):
                if tls is None and port != settings.turn_port:
                    continue
                listener = StreamListener(server, self._limits, counts)
                await listener.start(bind_tcp(host, port), tls)
                opened.callback(listener.close)

    async def ready(self) -> dict[str, bool]:
        """For `/readyz`."""
        return {"relay_listening": self.is_listening}
