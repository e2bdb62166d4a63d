"""Whom the relay never sends to: everything that is not another listener somewhere on the internet.

A TURN server lends its address to strangers. Without these rules they reach what trusts that address: services
on the machine itself, its neighbours in the data centre, the cloud's metadata service. For both engines.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA's special-purpose registries (RFC 6890), multicast, and every way to write an IPv4 address as an IPv6
# one: what is denied as 127.0.0.1 must not be had as ::ffff:127.0.0.1 (coturn, CVE-2020-26262).
FORBIDDEN_RANGES: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "carrier_grade_nat"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link_local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "special"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/96", "unspecified_loopback_or_ipv4_compatible"),
    ("::ffff:0:0/96", "ipv4_mapped"),
    ("::ffff:0:0:0/96", "ipv4_translated"),
    ("64:ff9b::/96", "nat64"),
    ("64:ff9b:1::/48", "nat64"),
    ("100::/64", "discard"),
    ("2001::/23", "teredo_or_special"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "special"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link_local"),
    ("fec0::/10", "site_local"),
    ("ff00::/8", "multicast"),
)
_RANGES = tuple((ipaddress.ip_network(text), why) for text, why in FORBIDDEN_RANGES)
_EMBEDDING = frozenset({"ipv4_mapped", "ipv4_translated", "nat64"})


@dataclass(frozen=True)
class PeerRules:
    """Which peers may be reached.

    Args:
        allowed: networks that may be reached although they are on the list: laboratories, closed networks.
        own: addresses of this machine and of the hub. A network does not allow them, only naming one does.
    """

    allowed: tuple[Network, ...] = ()
    own: frozenset[Address] = frozenset()

    def refusal(self, address: str) -> str | None:
        """Why an address is out of reach, in a word; None: it is not."""
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return "no_address"
        if isinstance(peer, ipaddress.IPv6Address) and peer.scope_id is not None:
            return "link_local"
        why = next((why for network, why in _RANGES if peer in network), None)
        # Never: it would go to an IPv4 address in disguise, and the rules for that one were not asked.
        if why in _EMBEDDING:
            return why
        if peer in self.own and not self._is_named(peer):
            return "own_address"
        return None if why is None or any(peer in network for network in self.allowed) else why

    def _is_named(self, peer: Address) -> bool:
        return any(network.num_addresses == 1 and peer in network for network in self.allowed)

    def denied_ranges(self) -> list[tuple[Address, Address]]:
        """First and last address of everything that is forbidden, for coturn."""
        networks = [network for network, _ in _RANGES]
        networks += [ipaddress.ip_network(address) for address in _ordered(self.own)]
        return [(network[0], network[-1]) for network in networks]

    def allowed_ranges(self) -> list[tuple[Address, Address]]:
        """First and last address of what is allowed all the same, without our own: coturn asks these first."""
        kept: list[Network] = []
        for network in self.allowed:
            pieces: list[Network] = [network]
            for own in _ordered(self.own):
                if network.num_addresses > 1:
                    pieces = [rest for piece in pieces for rest in _without(piece, own)]
            kept += pieces
        return [(network[0], network[-1]) for network in kept]


def _without(network: Network, address: Address) -> Iterable[Network]:
    if address not in network:
        return (network,)
    if network.num_addresses == 1:
        return ()
    return network.address_exclude(ipaddress.ip_network(address))  # type: ignore[arg-type]


def _ordered(addresses: Iterable[Address]) -> Sequence[Address]:
    return sorted(addresses, key=lambda address: (address.version, int(address)))
