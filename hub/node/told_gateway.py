"""Where others are told that a node's gateway is."""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from hub.config import Settings

EVERYWHERE = ("", "0.0.0.0", "::")
# Nobody is there (RFC 5737, RFC 3849): the way to them is the way to the rest of the world.
_ANYBODY = ("192.0.2.1", "2001:db8::1")
_SET_IT = "set DIGM_GATEWAY_URL to where others reach it"


@dataclass(frozen=True)
class ToldGateway:
    """What a node says of its gateway.

    Attributes:
        url: what it says; None: nothing.
        advice: what the operator may want to know about it; empty: there is nothing.
    """

    url: str | None
    advice: str = ""


def told_gateway(settings: Settings) -> ToldGateway:
    """What the operator said; else the address that it listens on; else that of the machine, as others see it.

    Args:
        settings: with the port that the gateway really has.
    """
    if settings.gateway_url:
        return ToldGateway(settings.gateway_url)
    if settings.host not in EVERYWHERE:
        url = settings.own_url(settings.gateway_port)
        return ToldGateway(url.replace("http://", "https://", 1) if settings.gateway_cert else url)
    if settings.gateway_cert:
        return ToldGateway(None, f"Its certificate is for a name that only you know: {_SET_IT}.")
    if settings.backbone_announce:
        return ToldGateway(
            None, f"It is reached at DIGM_BACKBONE_ANNOUNCE, which says nothing of its gateway: {_SET_IT}."
        )
    host = _own_address(settings)
    if host is None:
        return ToldGateway(None, f"This machine has no address in a network: {_SET_IT}.")
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.gateway_port}"
    if ipaddress.ip_address(host).is_global:
        return ToldGateway(url)
    return ToldGateway(url, f"{host} is not a public address: for those outside of its network, {_SET_IT}.")


def _own_address(settings: Settings) -> str | None:
    """This machine's address on the way to the nodes that it joins through, else to anybody."""
    version = 6 if settings.host == "::" else 4
    targets = [*_addresses(settings.backbone_bootstrap, version), _ANYBODY[version == 6]]
    for target in targets:
        found = _source_address(target)
        if found is not None and not ipaddress.ip_address(found).is_loopback:
            return found
    return None


def _addresses(multiaddrs: Sequence[str], version: int) -> list[str]:
    """The hosts of multiaddrs that are written as numbers."""
    found = []
    for text in multiaddrs:
        parts = text.split("/")
        if len(parts) > 2 and parts[1] == f"ip{version}":
            found.append(parts[2])
    return found


def _source_address(target: str) -> str | None:
    """From where this machine would call another one; nothing is sent (UDP)."""
    with socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:  # no way there
            return None
        return str(probe.getsockname()[0])
