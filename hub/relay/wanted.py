"""Whether `digm up` runs a relay beside the rest, and what its hub tells listeners of it."""

import contextlib
import ipaddress

import structlog

from digm.errors import CallerFault
from hub.config import Settings
from hub.relay.ice_servers import HOST_PLACE
from hub.relay.place import EVERYWHERE
from hub.relay.sockets import bind_tcp, bind_udp

log = structlog.get_logger()


def relay_is_wanted(settings: Settings) -> bool:
    """Decide by `DIGM_RELAY`.

    `auto` means: listeners come over a network, no other relay is named, and the port is free. On one machine
    alone nobody needs a relay, and it would only be one more thing that can fail.

    Raises:
        CallerFault: `port_in_use`, `cannot_listen`, where a relay was asked for.
    """
    if settings.relay == "no" or (settings.relay == "auto" and _is_for_this_machine(settings)):
        return False
    if settings.relay == "auto" and settings.turn_urls:
        return False
    try:
        _check_ports(settings)
    except CallerFault as fault:
        if settings.relay == "yes":
            raise
        log.warning("relay_not_started", reason=fault.message)
        return False
    return True


def own_turn_urls(settings: Settings) -> list[str]:
    """What listeners are told of the relay of this machine; it is where they found the hub."""
    host = f"{HOST_PLACE}:{settings.turn_port}"
    urls = [f"turn:{host}?transport=udp", f"turn:{host}?transport=tcp"]
    if settings.turn_cert:
        urls.append(f"turns:{HOST_PLACE}:{settings.turn_tls_port}?transport=tcp")
    return urls


def _is_for_this_machine(settings: Settings) -> bool:
    hosts = settings.turn_host or (settings.host,)
    return not settings.public_url and all(_is_loopback(host) for host in hosts)


def _is_loopback(host: str) -> bool:
    if host in EVERYWHERE:
        return False
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def _check_ports(settings: Settings) -> None:
    for host in settings.turn_host or (settings.host or "0.0.0.0",):
        bind_udp(host, settings.turn_port).close()
        bind_tcp(host, settings.turn_port).close()
