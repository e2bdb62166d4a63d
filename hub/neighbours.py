"""The elder nodes that `digm up` runs on this machine: each a process with a data folder and a name of its own.

They start when the music already plays, one after the other and with little priority, and what becomes of them
keeps nobody from listening.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import structlog

from digm.errors import CallerFault
from hub.backbone.identity import NodeIdentity
from hub.config import HIGHEST_PORT, Settings
from hub.gateway.sockets import bind
from hub.node.ports import KeptPorts
from hub.supervision import Child

log = structlog.get_logger()
NAMES = ("Allegro", "Andante", "Adagio", "Largo", "Presto", "Vivace", "Moderato", "Lento", "Grave")
NETWORK = "this machine"
UP_WITHIN_S = 60.0
POLL_S = 0.2
PORTS_FROM = 10  # the hub's port and this: its place in the backbone; behind it the nodes'
# What an operator says to all nodes; everything else that the hub is told is not meant for them.
_PASSED_ON = (
    *("DIGM_NODE_", "DIGM_AUDIT_", "DIGM_ICE_", "DIGM_STUN_", "DIGM_UPLOAD_", "DIGM_LOG_"),
    *("DIGM_CHAIN_RPC", "DIGM_CHAIN_PORT", "DIGM_CHAIN_CONFIRMATIONS", "DIGM_CHAIN_DEPLOYMENT"),
)
# On one machine nobody need be patient: copies are made, losses noticed and audits held within a minute.
_HURRIED = {"DIGM_AUDIT_EPOCH_SECONDS": "60", "DIGM_NODE_SETTLE_SECONDS": "5", "DIGM_NODE_LOSS_SECONDS": "60"}


def places_of(data: Path, count: int) -> list[Path]:
    """The data folders of this machine's nodes."""
    return [data / "nodes" / str(number + 1) for number in range(count)]


class Neighbours:
    """The nodes of one `digm up`. Making them reads and writes the data folder.

    Args:
        environment: what the hub's processes are started with.
    Raises:
        Unavailable: `disk_full`, `disk_failed`. CallerFault: a key cannot be used.
    """

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self._settings, self._environment = settings, environment
        self._places = places_of(settings.data, settings.nodes)
        self._ports = [self._port(place, number + 1) for number, place in enumerate(self._places)]
        self._listen = self._hub_listens() if self._places else settings.backbone_listen
        self._names = [NodeIdentity.load(place).peer_id for place in self._places]
        self.children = [self._child(number) for number in range(settings.nodes)]

    def hub_environment(self) -> dict[str, str]:
        """What the hub must be told so that it is one of them."""
        if not self._places:
            return {}
        watched = [*self._settings.watched_nodes, *(f"http://127.0.0.1:{port}" for port in self._ports)]
        return {
            "DIGM_OPERATOR": self._environment.get("DIGM_OPERATOR") or "this hub",
            "DIGM_NETWORK": self._environment.get("DIGM_NETWORK") or NETWORK,
            "DIGM_BACKBONE_LISTEN": ",".join(self._listen),
            "DIGM_WATCHED_NODES": ",".join(watched),
            "DIGM_ELDER_NODES": ",".join([*self._settings.elder_nodes, *self._names]),
        }

    async def until_up(self, number: int) -> bool:
        """Wait until a node answers; False: it does not."""
        name = self._names[number]
        timeout = aiohttp.ClientTimeout(total=2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UP_WITHIN_S), aiohttp.ClientSession(timeout=timeout) as session:
                while True:
                    # By its name: somebody else may answer at its port.
                    with contextlib.suppress(
                        aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError
                    ):
                        async with session.get(f"http://127.0.0.1:{self._ports[number]}/api/node") as answer:
                            said = await answer.json()
                        if said["peer_id"] == name and all(said["ready"].values()):
                            return True
                    await asyncio.sleep(POLL_S)
        log.warning("node_not_up", log=str(self.children[number].log_path))
        return False

    def _port(self, place: Path, number: int) -> int:
        """Behind the hub's where it is free: one that the system chose may be taken by a call meanwhile."""
        place.mkdir(parents=True, exist_ok=True)
        wanted = self._settings.port + PORTS_FROM + number
        if wanted <= HIGHEST_PORT and is_free(wanted):
            return wanted
        return KeptPorts(place).port("health", "127.0.0.1", 0)

    def _hub_listens(self) -> tuple[str, ...]:
        """The hub's multiaddrs: what the operator said, or this machine alone."""
        if self._settings.backbone_listen:
            return self._settings.backbone_listen
        port = self._port(self._settings.data, 0)
        return (f"/ip4/127.0.0.1/tcp/{port}",)

    def _child(self, number: int) -> Child:
        settings, place = self._settings, self._places[number]
        hub = [
            f"{address.replace('/0.0.0.0/', '/127.0.0.1/')}/p2p/{NodeIdentity.load(settings.data).peer_id}"
            for address in self._listen
            if "/tcp/0" not in address and "/udp/" not in address  # nodes speak TCP, however they are set
        ]
        environment = {
            **_HURRIED,
            **{
                name: value
                for name, value in self._environment.items()
                if not name.startswith("DIGM_") or name.startswith(_PASSED_ON)
            },
            "DIGM_DATA": str(place),
            "DIGM_HOST": settings.host,
            "DIGM_NODE_PORT": str(self._ports[number]),
            "DIGM_SIGNAL_URL": settings.signal_url,
            "DIGM_BACKBONE_BOOTSTRAP": ",".join([*hub, *settings.backbone_bootstrap]),
            "DIGM_OPERATOR": NAMES[number],
            "DIGM_NETWORK": NETWORK,
        }
        logs = settings.data / "logs"
        return Child("node", logs, environment, log_name=f"node-{number + 1}", is_patient=True)


def is_free(port: int) -> bool:
    """Whether this machine could listen on it just now."""
    try:
        bind("127.0.0.1", port).close()
    except CallerFault:
        return False
    return True
