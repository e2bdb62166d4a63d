"""Everybody on a disk of its own: artist, hub, gateway, seeding peer, relay and node, each a process that
writes into one folder and nowhere else; a devnet, and listeners who play, and buy, as a page does, without a
browser."""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from digm.manifest import Manifest
from digm.purchases import WrappedKey, purchase_aad
from digm.unpacking import access_units
from hub.backbone.identity import NodeIdentity
from hub.fetching.hub_answers import ask_grant, ask_track
from hub.fetching.unlocking import Session, check_manifest, open_chunk, whole_grant
from hub.vault.wrapping import unwrap
from tests.browser.elder_node import ElderNode
from tests.browser.stack import READY_TIMEOUT_S, Stack
from tests.hub.vault.market import PASSPHRASE, PRICE, Buyer, Market, until
from tests.ports import free_ports

# What a publisher hands to whoever serves the music: everything but the vault.
HANDED_OVER = ("catalogue.sqlite", "manifests", "chunks")
PROCESSES = ("hub", "gateway", "artist", "seed", "relay")
STRANGERS = ("hub", "gateway", "seed", "relay", "node")
"""Whose disks must hold nothing: everybody's but the artist's."""
AT_ONCE = 16


@dataclass(frozen=True)
class Piece:
    """A published track and everything about it that is secret or heard.

    Attributes:
        plaintexts: by rendition and chunk.
        playable: how many chunks of each rendition anyone may play.
    """

    manifest: Manifest
    track_key: bytes
    plaintexts: dict[tuple[int, int], bytes]
    playable: dict[int, int]

    @property
    def root(self) -> str:
        return self.manifest.track_root.hex()

    def sound(self, rendition: int) -> bytes:
        """The encoded sound alone, without boxes and filling."""
        described = self.manifest.renditions[rendition]
        chunks = [self.plaintexts[rendition, chunk] for chunk in range(described.chunk_count)]
        return b"".join(unit.payload for units in access_units(described, chunks) for unit in units)


class Disks:
    """The household. Publish on `stack`, then `start`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = Stack(folder / "artist")
        self._ports = dict(zip(("backbone", "turn", "turn_tls", "relay"), free_ports(4), strict=True))
        self._node: ElderNode | None = None
        self.market: Market | None = None
        for name in PROCESSES:
            (folder / name / "tmp").mkdir(parents=True)

    def disk(self, name: str) -> Path:
        return self.folder / name

    def sell(self, piece: Piece, buyers: Sequence[int]) -> list["Owner"]:
        """Begin a devnet, put a track on it and have it bought. The artist's process is to deliver.

        Args:
            buyers: accounts of the devnet.
        """
        (self.folder / "chain").mkdir()
        market = self.market = Market(self.folder / "chain")
        market.settle_in(self.disk("artist"))
        item = market.publish(self.disk("artist"), piece.root)
        token = market.deployed.addresses["para"]
        market.tell(market.artist, "sales", "set_offer", item, token, PRICE, False)
        owners = [Owner(market, item, Buyer(market.accounts[number])) for number in buyers]
        for owner in owners:
            market.buy(owner.buyer, item)
        return owners

    def start(self) -> None:
        """All processes; returns when a track can be played."""
        for name in ("hub", "gateway", "seed"):
            for part in HANDED_OVER:
                source, target = self.disk("artist") / part, self.disk(name) / part
                (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        # What two of them share, and no more: that of the relay's credentials, and that of the swarms' tokens.
        self._begin("relay")
        self._wait(f"http://127.0.0.1:{self._ports['relay']}/readyz", "relay")
        self._share("relay", "relay", "hub")
        self._begin("hub")
        self._wait(self.stack.url + "/healthz", "hub")
        self._share("swarm", "hub", "seed")
        for name in ("gateway", "artist", "seed"):
            self._begin(name)
        self.stack.wait_until_ready()

    def _share(self, secret: str, giver: str, taker: str) -> None:
        folder = self.disk(taker) / "secrets"
        folder.mkdir(mode=0o700)
        shutil.copy2(self.disk(giver) / "secrets" / secret, folder)

    def _begin(self, name: str) -> None:
        with (self.disk(name) / f"{name}.log").open("ab") as log:
            self.stack.running[name] = subprocess.Popen(
                [sys.executable, "-m", "hub.cli", name], env=self.environment(name), stdout=log, stderr=log
            )

    def environment(self, name: str) -> dict[str, str]:
        """Nobody can write anywhere else by its settings, its home or its temporary folder."""
        disk = self.disk(name)
        return self.stack.environment | {
            "DIGM_DATA": str(disk), "HOME": str(disk / "tmp"), "TMPDIR": str(disk / "tmp"),
            "DIGM_LOG_LEVEL": "debug", "DIGM_LISTENING_PROOF": "true", "DIGM_GRANTS_PER_MINUTE": "1000000",
            "DIGM_SIGNAL_URL": f"http://127.0.0.1:{self.stack.ports['hub']}",
            "DIGM_BACKBONE_LISTEN": f"/ip4/127.0.0.1/tcp/{self._ports['backbone']}" if name == "hub" else "",
            "DIGM_TURN_URLS": f"turn:127.0.0.1:{self._ports['turn']}?transport=udp",
            "DIGM_TURN_PORT": str(self._ports["turn"]), "DIGM_TURN_TLS_PORT": str(self._ports["turn_tls"]),
            "DIGM_TURN_HOST": "127.0.0.1", "DIGM_TURN_ALLOW": "127.0.0.1/32",
            "DIGM_RELAY_PORT": str(self._ports["relay"]), **self._chain(),
            "DIGM_CHAIN_PASSPHRASE": PASSPHRASE if name == "artist" else "",
        }  # fmt: skip

    def _chain(self) -> dict[str, str]:
        if self.market is None:
            return {}
        devnet = self.market.devnet
        deployment = devnet.data / "chain" / "deployment.json"
        return {"DIGM_CHAIN_RPC": devnet.url, "DIGM_CHAIN_DEPLOYMENT": str(deployment)}

    def keep(self, *roots: str) -> str:
        """Start the node and have it hold tracks. Returns its gateway's URL."""
        hub = f"/ip4/127.0.0.1/tcp/{self._ports['backbone']}/p2p/{NodeIdentity.load(self.disk('hub')).peer_id}"
        temporary = self.disk("node") / "tmp"
        temporary.mkdir(parents=True)
        own = {name: str(temporary) for name in ("HOME", "TMPDIR")} | self._chain()
        self._node = ElderNode(self.disk("node"), hub, DIGM_LOG_LEVEL="debug", **own)
        command = ("pin", *roots, "--replicas", "1", "--watch", "--within", "90")
        done = subprocess.run(
            [sys.executable, "-m", "hub.cli", *command],
            env=self.environment("artist"), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return self._node.gateway

    def relayed_bytes(self) -> float:
        """What went through the relay."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._ports['relay']}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("digm_relay_bytes_total"))

    def stop(self) -> None:
        if self._node is not None:
            self._node.stop()
        self.stack.stop()
        if self.market is not None:
            self.market.close()

    def _wait(self, url: str, name: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
                return
            log = (self.disk(name) / f"{name}.log").read_text()[-3000:]
            assert self.stack.running[name].poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.1)


@dataclass(frozen=True)
class Owner:
    """Somebody who bought a track, with the listening key of their browser."""

    market: Market
    item: bytes
    buyer: Buyer

    def wait(self) -> None:
        """Until the artist's vault has delivered."""
        until(lambda: self.market.delivered(self.item, self.buyer))

    async def key(self, http: aiohttp.ClientSession, hub: str) -> bytes:
        """The track's key, as the hub passes it on and as it opens here alone."""
        async with http.get(f"{hub}/api/keys/{self.buyer.address}") as answer:
            (found,) = [one for one in (await answer.json())["keys"] if one["item"] == f"0x{self.item.hex()}"]
        deployed = self.market.deployed
        sales, who = (bytes.fromhex(one[2:]) for one in (deployed.addresses["sales"], self.buyer.address))
        aad = purchase_aad(deployed.chain_id, sales, self.item, who)
        wrapped = WrappedKey.decode(bytes.fromhex(found["wrapped"].removeprefix("0x")))
        return unwrap(wrapped, self.buyer.private_key, aad)


async def play(
    http: aiohttp.ClientSession,
    hub: str,
    gateway: str,
    piece: Piece,
    rendition: int,
    owner: Owner | None = None,
) -> int:
    """One play, as a page makes it: the track, its manifest, a grant of its own, the chunks, opened.

    Args:
        owner: who has the key of all of it.
    Returns:
        bytes of sound.
    """
    track, session = await ask_track(http, hub, piece.root), Session()
    assert track.gateways
    async with http.get(f"{gateway}/{piece.root}/manifest.json") as answer:
        document = await answer.read()
    manifest = check_manifest(document, piece.root)
    grant = session.open((await ask_grant(http, hub, piece.root, session.public_key)).sealed(), manifest)
    described, heard = manifest.renditions[rendition], 0
    playable = piece.playable[rendition]
    assert grant.track_key is not None or grant.key_for(rendition, playable) is None
    if owner is not None:
        grant, playable = whole_grant(manifest, await owner.key(http, hub)), described.chunk_count
    for chunk in range(playable):
        async with http.get(f"{gateway}/{described.chunk_hashes[chunk].hex()}") as answer:
            sealed = await answer.read()
        key = grant.key_for(rendition, chunk)
        assert key is not None
        opened = open_chunk(described, chunk, sealed, key)
        assert opened == piece.plaintexts[rendition, chunk]
        heard += len(opened)
    return heard


async def play_often(
    disks: Disks, gateways: Sequence[str], pieces: Sequence[Piece], owners: Sequence[Owner], times: int
) -> int:
    """So many plays, a few at once, of two pieces in all renditions, from all gateways.

    Args:
        owners: of the second piece; every other play of it is by one of them.
    Returns:
        bytes of sound.
    """
    turns, heard = iter(range(times)), 0

    async def listen() -> None:
        nonlocal heard
        for turn in turns:
            # The lossless rendition is eight times as large.
            rendition = 0 if turn % 10 in (0, 5, 7) else 1
            piece, gateway = pieces[turn % 2], gateways[turn // 2 % len(gateways)]
            owner = owners[turn % len(owners)] if turn % 4 == 3 else None
            sound_bytes = await play(http, disks.stack.url, gateway, piece, rendition, owner)
            heard += sound_bytes  # only now: others have counted meanwhile

    async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(listen())
    return heard
