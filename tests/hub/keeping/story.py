"""A devnet, an artist's hub and five nodes with a stake, each a process; and somebody who listens."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

from digm.chain_tracks import binding_message
from hub.backbone.identity import NodeIdentity
from hub.chain.keystore import create_key
from hub.publishing.vault import FILE_NAME as VAULT
from hub.publishing.vault import Vault
from tests.browser.stack import Stack
from tests.hub.keeping.village import PASSPHRASE, QUICK_WORK, Village, wait
from tests.hub.node.processes import PATIENCE_S, NodeProcess, end, get
from tests.ports import free_port

NAMES = ("Adagio", "Brio", "Calando", "Dolce", "Energico")
LISTENED_EVERY_S = 0.1
ASKED_AGAIN_EVERY = 4  # chunks


class Town:
    """All of it.

    Attributes:
        nodes: by their operators' names. accounts: theirs on the chain.
    """

    def __init__(self, folder: Path, stack: Stack) -> None:
        (folder / "devnet").mkdir()
        self.village, self.stack, self._processes = Village(folder / "devnet"), stack, ExitStack()
        listen = f"/ip4/127.0.0.1/tcp/{free_port()}"
        stack.settings |= {"DIGM_BACKBONE_LISTEN": listen, "DIGM_CHAIN_RPC": self.village.devnet.url}
        bootstrap = f"{listen}/p2p/{NodeIdentity.load(stack.data).peer_id}"
        self.accounts = {name: self.village.settle_in(folder / name) for name in NAMES}
        self.nodes = {
            name: NodeProcess(
                folder / name,
                (bootstrap,),
                self.village.environment(DIGM_NODE_CLAIM="0", DIGM_OPERATOR=name, DIGM_NETWORK=f"AS {name}"),
            )
            for name in NAMES
        }
        self._bound = False

    def publish(self, source: Path, title: str) -> tuple[str, bytes]:
        """As the artist does, from file to chain. Returns the track's root and its id on the chain."""
        (line,) = self.stack.publish(source, "--title", title)
        root = str(line["track_root"])
        if not self._bound:
            where, account = self.village.deployed, from_account(self.village.artist)
            message = binding_message(where.chain_id, from_account(where.addresses["registry"]), account)
            with Vault.open(self.stack.data / VAULT) as vault:
                self.village.tell("registry", "bind_key", vault.artist_key, vault.sign(message))
            self._bound = True
        return root, self.village.publish(self.stack.data, root)

    def take_key(self) -> str:
        """Give the artist's folder a key with money for gas. Returns its account."""
        address = create_key(self.stack.data / "chain" / "key.json", PASSPHRASE, QUICK_WORK)
        self.village.give_coins(address)
        return address

    def start(self) -> None:
        """Hub and artist, then the nodes, all at once. The hub has no gateway: bytes come from the nodes."""
        self.stack.start("hub", "artist")
        for node in self.nodes.values():
            self._processes.callback(end, node)
            node.begin()
        for node in self.nodes.values():
            node.wait_until_up()
        self.stack.wait_until_alive()

    def close(self) -> None:
        self._processes.close()
        self.stack.stop()
        self.village.close()

    def holders(self, order: int) -> list[str]:
        """Names of those who have a place of an order."""
        return [name for name in NAMES if self.pin(order, name)["accepted_at"]]

    def pin(self, order: int, name: str) -> dict[str, int]:
        return dict(self.village.ask("pinning", "pin", order, self.accounts[name]))

    def facts(self, name: str) -> dict[str, Any]:
        """What the contract says of a node."""
        return self.village.node(self.accounts[name])

    def until_taken(self, order: int, replicas: int) -> list[str]:
        taken = self.village.mine_until(
            lambda: self.village.ask("pinning", "order", order)["taken"] == replicas
        )
        assert taken
        return self.holders(order)

    def round(self, *proving: str) -> int:
        return self.village.round(*(self.accounts[name] for name in proving))

    # -- while processes die

    def step(self) -> None:
        """A block, or none while somebody still has to prove: what takes long must not look like silence."""
        with suppress(OSError, HTTPException):
            clock = self.village.clock
            is_open = clock["round_epoch"] == clock["epoch"]
            if not (is_open and any(self._owes(name, clock["round"]) for name in NAMES)):
                self.village.mine()

    def _owes(self, name: str, number: int) -> bool:
        facts = self.facts(name)
        return bool(facts["pins"]) and not facts["jailed_until"] and facts["last_round"] < number

    def step_until(self, is_so: Callable[[], Any]) -> None:
        """Blocks until something is so; it may ask a devnet that is dead just now."""

        def is_so_now() -> bool:
            with suppress(OSError, HTTPException):
                if is_so():
                    return True
            self.step()
            return False

        wait(is_so_now, 3 * PATIENCE_S)

    @contextmanager
    def killing(self, dice: random.Random, *victims: str) -> Iterator[None]:
        """kill -9, one after the other at random moments, each started again at once.

        Args:
            victims: nodes' names, "hub", "devnet".
        """
        failures: list[BaseException] = []

        def kill() -> None:
            try:
                for victim in dice.sample(victims, len(victims)):
                    time.sleep(dice.uniform(0, 1.5))  # the moment is what is tested
                    self._kill(victim)
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=kill, name="killer")
        thread.start()
        try:
            yield
        finally:
            thread.join()
        assert not failures, failures

    def _kill(self, victim: str) -> None:
        if victim == "devnet":
            self.village.devnet.kill()
            self.village.devnet.start()
        elif victim == "hub":
            self.stack.kill("hub")
            self.stack.start("hub")
            self.stack.wait_until_alive()
        else:
            self.nodes[victim].kill()
            self.nodes[victim].start()

    def digm(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        """A command in the hub's folder."""
        return subprocess.run(
            [sys.executable, "-m", "hub.cli", *arguments], env={**self.stack.environment, **settings},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def events(self) -> list[dict[str, Any]]:
        """What happened in the contracts, as `digm chain events --json` has it."""
        done = self.digm("chain", "events", "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def lose_data(self, name: str) -> None:
        """The disk with its chunks is gone, and none can be written to where they were."""
        chunks = self.nodes[name].data / "chunks"
        shutil.move(chunks, chunks.with_name("lost"))
        chunks.write_text("there is no disk here any more")

    def index(self) -> dict[str, Any]:
        """The hub's fresh index: its nodes by their operators' names."""
        status, body = get(self.stack.url + "/fresh-index.json")
        return {node["operator"]: node for node in json.loads(body)["nodes"]} if status == 200 else {}

    def until_said(self, words: str) -> list[str]:
        """Until the hub's operator reads of something. Returns all that happened, the newest first."""

        def said() -> list[str]:
            lines = [event["words"] for event in self.stack.ask("/api/chain")["events"]]
            return lines if any(words in line for line in lines) else []

        return list(wait(said))


def from_account(address: str) -> bytes:
    return bytes.fromhex(address.removeprefix("0x"))


@dataclass
class Listener:
    """Asks for every chunk of a track again and again, of the gateways that the hub names, in its order.

    Attributes:
        rounds: how often all chunks came. faults: where nobody gave a chunk, or somebody wrong bytes.
        given: how many chunks each gateway gave.
    """

    stack: Stack
    root: str
    rounds: int = 0
    faults: list[str] = field(default_factory=list)
    given: dict[str, int] = field(default_factory=dict)
    _gateways: list[str] = field(default_factory=list)

    @contextmanager
    def listening(self) -> Iterator["Listener"]:
        """Listen meanwhile, and through one whole round more at the end."""
        enough = threading.Event()
        thread = threading.Thread(target=self._listen, args=(enough,), name="listener")
        thread.start()
        try:
            yield self
            seen = self.rounds + 1
            wait(lambda: self.rounds > seen or self.faults)
        finally:
            enough.set()
            thread.join()

    def _listen(self, enough: threading.Event) -> None:
        names = [path.name for part in (0, 1) for path in self._chunks(part)]
        while not enough.is_set():
            for number, name in enumerate(names):
                if number % ASKED_AGAIN_EVERY == 0:
                    self._ask_hub()
                self._hear(name)
                if enough.wait(LISTENED_EVERY_S):
                    return
            self.rounds += 1

    def _chunks(self, rendition: int) -> list[Path]:
        try:
            return self.stack.chunks_of(self.root, rendition)
        except IndexError:
            return []

    def _ask_hub(self) -> None:
        try:
            said = self.stack.ask(f"/api/tracks/{self.root}/sources")["gateways"]
        except OSError:
            return  # a hub that is away: who was known is known
        self._gateways = [gateway["url"] for gateway in said] or self._gateways

    def _hear(self, name: str) -> None:
        said = {}
        for url in self._gateways:
            try:
                status, body = get(f"{url}/{name}")
            except OSError as error:
                said[url] = type(error).__name__
                continue
            said[url] = str(status)
            if status == 200 and hashlib.sha256(body).hexdigest() == name:
                self.given[url] = self.given.get(url, 0) + 1
                return
            if status == 200:
                self.faults.append(f"{url} gave wrong bytes of {name}")
        self.faults.append(f"nobody gave {name}: {said}")
