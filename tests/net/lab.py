"""A small internet in network namespaces: a hub with a public address, and two homes behind NATs of a kind.

    hub 203.0.113.10 ── wan (203.0.113.0/24) ─┬─ nata .21 ── homea 192.168.1.2
                                              └─ natb .22 ── homeb 192.168.2.2

Needs root, ip (iproute2) and nft (nftables). Names begin with a prefix of this process.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

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
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"dg{os.getpid() % 100_000}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespaces: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


class Lab:
    """The namespaces. Use as a context manager."""

    def __init__(self) -> None:
        self._prefix = f"dg{os.getpid() % 100_000}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._all = [self.name(what) for what in ("wan", "hub", "nata", "natb", "homea", "homeb")]

    def name(self, what: str) -> str:
        return f"{self._prefix}-{what}"

    def __enter__(self) -> "Lab":
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()
        self._remove()

    def _remove(self) -> None:
        for name in self._all:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def _build(self) -> None:
        self._remove()
        for name in self._all:
            _run("ip", "netns", "add", name)
            _run("ip", "-n", name, "link", "set", "lo", "up")
        self._ip("wan", "link add br0 type bridge")
        self._ip("wan", "link set br0 up")
        # What is for nobody here goes to the rest of the internet, which swallows it. Without such a default
        # route the hub's machine would refuse at once what elsewhere takes its time, and coturn does not start.
        self._ip("wan", "addr add 203.0.113.1/24 dev br0")
        self.nft("wan", "add table ip f; add chain ip f in { type filter hook input priority 0; policy drop; }")
        for what, address in (("hub", HUB), ("nata", NAT["a"]), ("natb", NAT["b"])):
            self._ip(what, f"link add wan type veth peer name {what} netns {self.name('wan')}")
            self._ip("wan", f"link set {what} master br0 up")
            self._ip(what, f"addr add {address}/24 dev wan")
            self._ip(what, "link set wan up")
            self._ip(what, "route add default via 203.0.113.1")
        for home, net in (("a", "192.168.1"), ("b", "192.168.2")):
            self._ip(f"nat{home}", f"link add lan type veth peer name eth0 netns {self.name('home' + home)}")
            self._ip(f"nat{home}", f"addr add {net}.1/24 dev lan")
            self._ip(f"nat{home}", "link set lan up")
            self._ip(f"home{home}", f"addr add {net}.2/24 dev eth0")
            self._ip(f"home{home}", "link set eth0 up")
            self._ip(f"home{home}", f"route add default via {net}.1")
            _run(*self.inside(f"nat{home}"), "sysctl", "-qw", "net.ipv4.ip_forward=1")

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
        listing = _run(*self.inside(f"nat{home}"), "nft", "list", "counter", "ip", "filter", "listeners")
        return int(listing.split("packets ")[1].split()[0])

    def inside(self, what: str) -> list[str]:
        """The beginning of a command that runs in a namespace."""
        return ["ip", "netns", "exec", self.name(what)]

    def start(self, what: str, command: Sequence[str], environment: dict[str, str], log: Path) -> None:
        """Run a process in a namespace until the end of the laboratory, or `stop`."""
        with log.open("ab") as target:
            process = subprocess.Popen(
                [*self.inside(what), *command], env=environment, stdout=target, stderr=target
            )
        self._processes.append(process)

    def stop(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def answers(self, url: str) -> bool:
        """Whether the hub's namespace gets a 2xx from an address."""
        command = [*self.inside("hub"), "curl", "-fsS", "-o", "/dev/null", "--max-time", "2", url]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def nft(self, what: str, rules: str) -> None:
        _run(*self.inside(what), "nft", "-f", "-", text=rules)

    def _ip(self, what: str, words: str) -> None:
        _run("ip", "-n", self.name(what), *words.split())


def _run(*command: str, text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
