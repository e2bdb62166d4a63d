"""Which addresses this hub asks when a stranger names them: public ones, and those that the operator allows.

An announcement may name any URL. Without this rule it would be a way to make the hub ask its neighbours.
"""

import ipaddress
import socket
from functools import cached_property
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from hub.config import Settings
from hub.relay.forbidden import PeerRules

_LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


def rules_for(settings: Settings) -> PeerRules:
    """`DIGM_NODE_ALLOW`, and loopback for a hub that is itself for this machine alone."""
    allowed = tuple(ipaddress.ip_network(text, strict=False) for text in settings.node_allow)
    is_alone = settings.public_url is None and settings.host in ("127.0.0.1", "::1", "localhost")
    return PeerRules(allowed + _LOOPBACK if is_alone else allowed)


class CheckedResolver(AbstractResolver):
    """Resolves names to addresses that may be asked; there is no moment in which the name could change.

    aiohttp asks no resolver about addresses that are written out: `is_literal_refused` is for these.
    """

    def __init__(self, rules: PeerRules) -> None:
        self._rules = rules

    @cached_property
    def _resolver(self) -> ThreadedResolver:
        """It needs a running loop, which there is not while the hub is put together."""
        return ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Raises OSError where nothing is left."""
        found = await self._resolver.resolve(host, port, family)
        allowed = [item for item in found if self._rules.refusal(item["host"]) is None]
        if not allowed:
            raise OSError(None, "Its addresses are not public (DIGM_NODE_ALLOW).")
        return allowed

    async def close(self) -> None:
        """Nothing is held open."""

    def is_literal_refused(self, host: Any) -> bool:
        """Whether a URL's host is an address that may not be asked."""
        try:
            ipaddress.ip_address(str(host))
        except ValueError:
            return False
        return self._rules.refusal(str(host)) is not None
