"""The process `digm node`: an elder node.

It joins the backbone, keeps what artists order, gives it to nodes over libp2p, to everybody over HTTP and to
listeners over WebRTC, and proves and audits what is held.

Its parts know nothing of each other: here they are put together, started, and called every few seconds.
"""

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import msgspec
import structlog
from aiohttp import web

from digm.backbone_messages import MANIFEST
from digm.errors import CallerFault, DigmError, Unavailable
from digm.ids import to_hex
from hub.api.keys import Keys
from hub.backbone.backbone import Backbone
from hub.backbone.identity import NodeIdentity
from hub.backbone.settings import BackboneSettings
from hub.chain.handing_on import serve_deployment
from hub.config import Settings
from hub.gateway.server import serve as serve_gateway
from hub.lifecycle import health_server
from hub.node.chain_part import ChainPart
from hub.node.company import Company
from hub.node.held_tracks import NodeTracks
from hub.node.pages import routes
from hub.node.ports import KeptPorts
from hub.node.repairing import Repairer
from hub.node.scrubber import Scrubber
from hub.node.seeding import NodeSeeding
from hub.node.status import Parts, Status
from hub.node.storage import NodeStore
from hub.node.told_gateway import EVERYWHERE, told_gateway
from hub.node.traffic import NodeNetwork, counted
from hub.node.twins import LastWords, TwinWatch
from hub.pinning.auditor import Auditor, AuditSettings
from hub.pinning.covers import serve_covers
from hub.pinning.fresh_index_writer import FreshIndexWriter, IndexSettings
from hub.pinning.herald import Herald, HeraldSettings, Holding, holdings_of
from hub.pinning.pinner import Pinner, PinSettings
from hub.pinning.records import Records
from hub.seeding.chunk_cache import ChunkCache

log = structlog.get_logger()
CACHE_BYTES = 16 * 1024 * 1024  # chunks on their way to nodes
ANNOUNCED_EVERY_S, PINNED_EVERY_S, AUDITED_EVERY_S, LOOKED_EVERY_S, CALLED_EVERY_S = 2.0, 2.0, 2.0, 2.0, 3.0
UP_WITHIN_S, POLL_S = 30.0, 0.05
MANY = 8  # requests of one protocol at once
LOOPBACK = "127.0.0.1"
SAID_AGAIN_S = 60.0
REASONS = {
    "backbone_running": "libp2p is not running just now; the log says why.",
    "connected": "None of the nodes in DIGM_BACKBONE_BOOTSTRAP was reached yet, nor any other.",
    "gateway_answers": "The node's own gateway does not answer.",
    "identity_unique": "Another process uses this node's key: stop one of them, or remove secrets/node-key "
    "from the folder of one, and it gets a key of its own.",
    "store_writable": "The node's disk is full or cannot be written; the log says which.",
}


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Be a node until `stop` is set, then drain. Says on standard output when it is up.

    Raises:
        CallerFault: `not_a_node_folder`, `already_running`, `data_not_writable`, `port_in_use`, ...
        Unavailable: `disk_full`, `address_in_use`, `node_not_up`, ...
    """
    async with contextlib.AsyncExitStack() as stack:
        node = await asyncio.to_thread(Node, settings, stack)
        try:
            await node.run(stop)
        except* DigmError as failed:
            raise _first(failed) from failed


class Node:
    """One elder node. Making it blocks.

    Args:
        settings: as they were read; ports that are 0 become the kept ones.
        stack: closes what was opened, when all is over.
    """

    def __init__(self, settings: Settings, stack: contextlib.AsyncExitStack) -> None:
        self._store = NodeStore(settings.data, settings.node_bytes)
        stack.callback(self._store.close)
        self._settings = settings = _with_ports(settings, KeptPorts(settings.data))
        records = Records(settings.data)
        stack.callback(records.close)
        identity = NodeIdentity.load(settings.data)
        self._backbone = Backbone(
            identity,
            BackboneSettings(
                listen=settings.backbone_listen,
                bootstrap=settings.backbone_bootstrap,
                announce=settings.backbone_announce,
            ),
        )
        self._network = network = NodeNetwork(self._backbone)
        self._tracks = NodeTracks(self._store)
        self._holdings: tuple[int, Mapping[bytes, Holding]] = (-1, {})
        gateway = told_gateway(settings)
        if gateway.advice:
            log.warning("gateway_told", url=gateway.url, advice=gateway.advice)
        self._herald = Herald(network, identity, self._held, _voice(settings, gateway.url))
        network.ledger = self._herald.ledger
        self._chain = ChainPart(
            settings, network, identity, self._store, self._herald, _policy(settings).step_s
        )
        audits = _audits(settings)
        self._audited_every_s = min(AUDITED_EVERY_S, audits.epoch_s / 8)
        self._auditor = Auditor(network, identity, self._store, self._herald, records, audits)
        self._pinner = Pinner(
            network, identity, self._store, self._herald, records, _policy(settings), self._auditor.health,
            is_jailed=self._chain.is_jailed,
        )  # fmt: skip
        self._presence_s = settings.node_presence_seconds
        self._index = FreshIndexWriter(
            network, identity, self._herald, lambda: self._auditor.scores, settings.data,
            IndexSettings(every_s=min(IndexSettings.every_s, self._presence_s / 3)),
            standing=self._chain.standing,
        )  # fmt: skip
        repairer = Repairer(network, self._herald.ledger, is_jailed=self._chain.is_jailed)
        self._scrubber = Scrubber(self._store, repairer.fetch, idle_s=settings.node_scrub_seconds)
        parts = Parts(settings, self._store, records, self._backbone, self._herald, self._pinner, self._auditor)
        self._status = Status(parts)
        self._status.gateway_url, self._status.chain = gateway.url, self._chain.document
        self._company = Company(self._backbone, self._herald.ledger, settings.data)
        self._twins = TwinWatch(network, identity, self._herald, self._presence_s, self._company.meet_anew)
        self._last_words = LastWords()
        is_seeding = bool(settings.signal_url)
        self._seeding = NodeSeeding(settings, identity, self._store, self._tracks) if is_seeding else None
        if self._seeding is not None:
            seeding = self._seeding
            self._status.is_hub_connected = lambda: seeding.is_connected
        self._gateway_answers = self._is_written = False

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        pages = [
            *routes(self._state, lambda: self._index.document),
            web.get("/api/keys/{address}", Keys(self._settings, self._chain.follower).answer),
        ]
        async with contextlib.AsyncExitStack() as servers:
            for host in _health_hosts(self._settings.host):
                settings = msgspec.structs.replace(self._settings, host=host)
                server = health_server(settings, settings.node_port, self._ready, pages, REASONS)
                await servers.enter_async_context(server)
                self._status.health_url = settings.own_url(settings.node_port) + "/healthz"
            async with self._taking_part(), asyncio.TaskGroup() as tasks:
                gateway = serve_gateway(self._settings, stop, store=self._store.chunks)
                tasks.create_task(gateway, name="gateway")  # it drains by itself, and so does the next one
                if self._seeding is not None:
                    tasks.create_task(self._seeding.run(stop), name="seeding")
                work = [
                    tasks.create_task(self._every(ANNOUNCED_EVERY_S, self._announce), name="herald"),
                    tasks.create_task(self._every(PINNED_EVERY_S, self._pinner.tick), name="pinner"),
                    tasks.create_task(self._every(self._audited_every_s, self._auditor.tick), name="auditor"),
                    tasks.create_task(self._every(LOOKED_EVERY_S, self._look), name="status"),
                    tasks.create_task(self._every(CALLED_EVERY_S, self._company.tick), name="company"),
                    tasks.create_task(self._every(self._presence_s / 6, self._twins.look), name="twins"),
                    tasks.create_task(self._scrubber.run(), name="scrubber"),
                    tasks.create_task(self._chain.run(), name="chain"),
                    tasks.create_task(self._say_when_up(), name="up"),
                ]
                await stop.wait()
                for task in work:
                    task.cancel()

    @contextlib.asynccontextmanager
    async def _taking_part(self) -> AsyncIterator[None]:
        """Be a member of the backbone."""
        cache = ChunkCache(self._store.chunks, CACHE_BYTES)
        self._backbone.on_gossip = self._herald.on_gossip
        self._backbone.share(self._tracks.find, counted(cache))
        self._backbone.serve(
            MANIFEST.name, self._manifest, most_bytes=MANIFEST.most_request_bytes,
            timeout_s=MANIFEST.timeout_s, parallel=MANY,
        )  # fmt: skip
        serve_covers(self._network, self._store.chunks)
        serve_deployment(self._network, self._settings)
        self._last_words.serve(self._network)
        await self._auditor.start()
        await self._pinner.start()
        try:
            await self._backbone.start()
            yield
        finally:
            await self._pinner.stop()
            await self._backbone.stop()

    async def _manifest(self, _peer: str, track_root: bytes) -> bytes:
        return await asyncio.to_thread(self._store.chunks.manifest, to_hex(track_root))

    async def _announce(self) -> None:
        if not self._twins.is_doubled:  # two who speak with one key are believed less than none
            await self._herald.announce()

    def _held(self) -> Mapping[bytes, Holding]:
        """What the herald says; it asks every few seconds, and a store may be large."""
        changes = self._store.changes
        if changes != self._holdings[0]:
            self._holdings = changes, holdings_of(self._store)
        return self._holdings[1]

    async def _every(self, seconds: float, turn: Callable[[], Awaitable[object]]) -> None:
        """Call a part again and again: what goes wrong in one turn is said, and the next one goes on."""
        said, said_at = "", -SAID_AGAIN_S
        while True:
            try:
                await turn()
            except DigmError as error:
                if error.code != said or time.monotonic() >= said_at + SAID_AGAIN_S:
                    said, said_at = error.code, time.monotonic()
                    log.warning("turn_failed", part=turn.__qualname__, code=error.code, reason=error.message)
            except Exception:
                log.exception("turn_crashed", part=turn.__qualname__)
            await asyncio.sleep(seconds)

    async def _look(self) -> None:
        self._gateway_answers = await self._asked_gateway()
        await asyncio.to_thread(self._store.write_uses)
        try:
            await self._index.tick()
            self._is_written = True
        except DigmError:
            self._is_written = False
            raise
        await asyncio.to_thread(self._status.refresh)

    async def _asked_gateway(self) -> bool:
        settings = self._settings
        is_tls = settings.gateway_cert is not None and settings.gateway_tls_port < 0
        url = settings.own_url(settings.gateway_port)
        url = url.replace("http://", "https://", 1) if is_tls else url
        session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2))
        try:
            # Its certificate is for others, who check it.
            async with session as http, http.get(url + "/healthz", ssl=False) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _say_when_up(self) -> None:
        try:
            async with asyncio.timeout(UP_WITHIN_S):
                while not (self._backbone.is_running and await self._asked_gateway()):
                    await asyncio.sleep(POLL_S)
        except TimeoutError as error:
            raise Unavailable("node_not_up", "The node's gateway does not answer; its log says why.") from error
        backbone, status = self._backbone, self._status
        gateway = status.gateway_url or self._settings.own_url(self._settings.gateway_port)
        addresses = " ".join(backbone.multiaddrs)
        print(
            f"Node {backbone.peer_id} is up: {addresses}; gateway {gateway}; health {status.health_url}",
            flush=True,
        )

    # -- what it says of itself

    async def _ready(self) -> dict[str, bool]:
        is_alone = not self._settings.backbone_bootstrap
        return {
            "backbone_running": self._backbone.is_running,
            "connected": is_alone or bool(self._backbone.peers()),
            "gateway_answers": self._gateway_answers,
            "identity_unique": not self._twins.is_doubled,
            "store_writable": self._is_written,
        }

    async def _state(self) -> dict[str, Any]:
        await asyncio.to_thread(self._status.refresh)
        return self._status.document(await self._ready())


def _with_ports(settings: Settings, ports: KeptPorts) -> Settings:
    host, listen = settings.host, settings.backbone_listen
    if not listen:
        start = f"/{'ip6' if ':' in host else 'ip4'}/{_numeric(host)}/tcp/0"
        listen = (start, start + "/ws")
    return msgspec.structs.replace(
        settings,
        backbone_listen=ports.multiaddrs(listen),
        gateway_port=ports.port("gateway", host, settings.gateway_port),
        node_port=ports.port("health", _all_of(host), settings.node_port),
    )


def _health_hosts(host: str) -> list[str]:
    """Where health is told: at the node's address, and to this machine in any case."""
    return [host] if host in EVERYWHERE or _is_loopback(host) else [host, LOOPBACK]


def _all_of(host: str) -> str:
    """The port must be free at each of them."""
    return host if _is_loopback(host) else "::" if ":" in host else "0.0.0.0"


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(_numeric(host)).is_loopback


def _numeric(host: str) -> str:
    host = {"": "0.0.0.0", "localhost": "127.0.0.1"}.get(host, host)
    try:
        return str(ipaddress.ip_address(host))
    except ValueError as error:
        raise CallerFault(
            "bad_setting",
            f"The setting DIGM_HOST is the name {host!r}: give an address, or set DIGM_BACKBONE_LISTEN.",
            variable="DIGM_HOST",
        ) from error


def _voice(settings: Settings, gateway_url: str | None) -> HeraldSettings:
    return HeraldSettings(
        operator=settings.operator,
        network=settings.network,
        gateway_url=gateway_url,
        presence_s=settings.node_presence_seconds,
    )


def _policy(settings: Settings) -> PinSettings:
    default = PinSettings()
    return PinSettings(
        settle_s=settings.node_settle_seconds,
        grace_s=settings.node_loss_seconds,
        # Others' turn comes after a tenth of it at the latest, as with the defaults.
        step_s=min(default.step_s, settings.node_loss_seconds / 10),
    )


def _audits(settings: Settings) -> AuditSettings:
    default, epoch_s = AuditSettings(), settings.audit_epoch_seconds
    return AuditSettings(epoch_s=epoch_s, deadline_s=min(default.deadline_s, epoch_s))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
