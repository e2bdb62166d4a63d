"""A small internet in network namespaces: a hub with a public address, and two homes behind NATs of a kind.

    hub 203.0.113.10 ── wan (203.0.113.0/24) ─┬─ nata .21 ── homea 192.168.1.2
                                              └─ natb .22 ── homeb 192.168.2.2

Needs root, ip (iproute2) and nft (nftables). Names begin with a prefix of this process.
"""

import subprocess

from tests.net import namespaces
from tests.net.namespaces import Namespaces, run

HUB = "203.0.113.10"
NAT = {"a": "203.0.113.21", "b": "203.0.113.22"}
HOME = {"a": "192.168.1.2", "b": "192.168.2.2"}
KINDS = ("port_restricted", "symmetric", "udp_blocked")
PROGRAMS = ("ip", "nft", "tc", "chromium", "turnserver", "curl")

# `fully-random` gives every connection a port of its own, whoever it goes to: that is a symmetric NAT. Plain
# masquerade keeps the port, and connection tracking lets nobody answer who was not asked: port-restricted.
RULES = """
flush ruleset
table ip nat {{
  chain postrouting {{ type nat hook postrouting priority 100; oifname "wan" {masquerade}; }}
}}
table ip filter {{
  counter listeners {{ }}
  chain input {{ type filter hook input priority 0; policy accept; iifname "wan" ct state new drop; }}
  chain forward {{ type filter hook forward priority 0; policy drop;
    iifname "lan" ip daddr 203.0.113.0/24 ip daddr != {hub} counter name "listeners";
    {block}
    ct state established,related accept;
    iifname "lan" oifname "wan" accept;
  }}
}}
"""


def missing() -> str:
    """Why there can be no laboratory here; "" if there can."""
    return namespaces.missing(PROGRAMS)


class Lab(Namespaces):
    """The namespaces. Use as a context manager."""

    def __init__(self) -> None:
        super().__init__("dg", ("wan", "hub", "nata", "natb", "homea", "homeb"))

    def build(self) -> None:
        """Lay the cables."""
        self.ip("wan", "link add br0 type bridge")
        self.ip("wan", "link set br0 up")
        # What is for nobody here goes to the rest of the internet, which swallows it. Without such a default
        # route the hub's machine would refuse at once what elsewhere takes its time, and coturn does not start.
        self.ip("wan", "addr add 203.0.113.1/24 dev br0")
        self.nft("wan", "add table ip f; add chain ip f in { type filter hook input priority 0; policy drop; }")
        for what, address in (("hub", HUB), ("nata", NAT["a"]), ("natb", NAT["b"])):
            self.ip(what, f"link add wan type veth peer name {what} netns {self.name('wan')}")
            self.ip("wan", f"link set {what} master br0 up")
            self.ip(what, f"addr add {address}/24 dev wan")
            self.ip(what, "link set wan up")
            self.ip(what, "route add default via 203.0.113.1")
        for home, net in (("a", "192.168.1"), ("b", "192.168.2")):
            self.ip(f"nat{home}", f"link add lan type veth peer name eth0 netns {self.name('home' + home)}")
            self.ip(f"nat{home}", f"addr add {net}.1/24 dev lan")
            self.ip(f"nat{home}", "link set lan up")
            self.ip(f"home{home}", f"addr add {net}.2/24 dev eth0")
            self.ip(f"home{home}", "link set eth0 up")
            self.ip(f"home{home}", f"route add default via {net}.1")
            run(*self.inside(f"nat{home}"), "sysctl", "-qw", "net.ipv4.ip_forward=1")

    def set_nats(self, a: str, b: str) -> None:
        """Make the two NATs of a kind each: one of KINDS."""
        for home, kind in (("a", a), ("b", b)):
            assert kind in KINDS, kind
            self.nft(
                f"nat{home}",
                RULES.format(
                    masquerade="masquerade fully-random" if kind == "symmetric" else "masquerade",
                    block='iifname "lan" meta l4proto udp drop;' if kind == "udp_blocked" else "",
                    hub=HUB,
                ),
            )

    def packets_to_listeners(self, home: str) -> int:
        """How many packets a home has sent to other homes since its NAT was set."""
        listing = run(*self.inside(f"nat{home}"), "nft", "list", "counter", "ip", "filter", "listeners")
        return int(listing.split("packets ")[1].split()[0])

    def answers(self, url: str) -> bool:
        """Whether the hub's namespace gets a 2xx from an address."""
        command = [*self.inside("hub"), "curl", "-fsS", "-o", "/dev/null", "--max-time", "2", url]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def nft(self, what: str, rules: str) -> None:
        run(*self.inside(what), "nft", "-f", "-", text=rules)
