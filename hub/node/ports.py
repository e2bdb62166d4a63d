"""Ports that were free once and are kept from then on: others know a node by its addresses."""

import json
import random
import socket
from collections.abc import Sequence
from pathlib import Path

import structlog

from hub.storage.durable import disk_faults_named, write_durably

log = structlog.get_logger()
FILE_NAME = "ports.json"
# Below those that systems give to outgoing connections: between choosing one and listening on it, one of these
# could be taken, and so could the port of a node that was stopped for a while.
CHOSEN_FROM = range(20_000, 32_768)
TRIES = 100


class KeptPorts:
    """The ports of one node. Calls block.

    A kept port that somebody else has taken meanwhile is given up for another one: to be found anew is better
    than not to start.

    Args:
        data: the node's folder.
    Raises (all methods):
        Unavailable: `disk_full`, `disk_failed`. CallerFault: `data_not_writable`.
    """

    def __init__(self, data: Path) -> None:
        self._path = data / FILE_NAME
        self._kept = _read(self._path)

    def port(self, name: str, host: str, wanted: int) -> int:
        """A port to listen on: the one that is wanted; where that is 0, the kept one or a new one.

        Args:
            name: what it is for; the same after a restart.
        """
        if wanted:
            return wanted
        kept = self._kept.get(name)
        if kept is not None and _free_port(host, kept):
            return kept
        if kept is not None:
            log.warning("port_changed", of=name, was=kept, reason="somebody else listens on it")
        chosen = self._choose(host)
        if not chosen:  # not an address of this machine: who listens on it will say so
            return 0
        self._kept[name] = chosen
        with disk_faults_named(self._path.parent):
            write_durably(self._path, json.dumps(self._kept).encode(), self._path.parent / "incoming")
        return chosen

    def _choose(self, host: str) -> int:
        for tried in random.sample(CHOSEN_FROM, TRIES):
            # Nobody listens on the kept ones yet, so they would seem free.
            if tried not in self._kept.values() and _free_port(host, tried):
                return tried
        return _free_port(host, 0)

    def multiaddrs(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The same for multiaddrs: `/ip4/HOST/tcp/0...` gets a port."""
        return tuple(self._multiaddr(address) for address in wanted)

    def _multiaddr(self, address: str) -> str:
        parts = address.split("/")
        if len(parts) > 4 and parts[3] in ("tcp", "udp") and parts[4] == "0":
            parts[4] = str(self.port(address, parts[2], 0))
        return "/".join(parts)


def _read(path: Path) -> dict[str, int]:
    try:
        kept = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    is_right = isinstance(kept, dict) and all(type(port) is int and 0 < port < 65_536 for port in kept.values())
    return kept if is_right else {}


def _free_port(host: str, port: int) -> int:
    """The port, or any where it is 0; 0 when it cannot be listened on."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the listeners have it
        try:
            probe.bind((host, port))
        except OSError:
            return 0
        return int(probe.getsockname()[1])
