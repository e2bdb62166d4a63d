"""A DIGM that sells: devnet, contracts, artist's vault with an account, hub and gateway, as processes."""

from dataclasses import dataclass, field
from pathlib import Path

from digm.chain_tracks import binding_message
from hub.publishing.vault import FILE_NAME as VAULT
from hub.publishing.vault import Vault
from tests.browser.stack import Stack
from tests.hub.vault.market import COIN, Market

PRICE = 25 * 10**17  # 2.5 PARA


@dataclass(frozen=True)
class Sold:
    """A track for sale."""

    root: str
    item: bytes


@dataclass
class Shop:
    """The market on its chain, and the processes of one data folder.

    Args:
        folder: empty; for all of it.
    """

    folder: Path
    market: Market = field(init=False)
    stack: Stack = field(init=False)

    def __post_init__(self) -> None:
        for name in ("market", "data"):
            (self.folder / name).mkdir(parents=True)
        self.market = Market(self.folder / "market")
        self.stack = Stack(self.folder / "data", self.market.environment())
        self.market.settle_in(self.stack.data)

    def offer(
        self, path: Path, *options: str, paid_in: str = "para", price: int = PRICE, at_least: bool = False
    ) -> Sold:
        """Publish a file, on the chain as well, and sell it. `paid_in`: para, or coin for the chain's own."""
        (line,) = self.stack.publish(path, *options)
        item = self.market.publish(self.stack.data, line["track_root"])
        address = self.market.deployed.addresses.get(paid_in, COIN)
        self.market.tell(self.market.artist, "sales", "set_offer", item, address, price, at_least)
        return Sold(line["track_root"], item)

    def offer_album(self, *tracks: Sold, price: int) -> None:
        """Sell tracks together, too."""
        payees = [(self.market.artist, 10_000)]
        items, para = [track.item for track in tracks], self.market.deployed.addresses["para"]
        self.market.tell(self.market.artist, "sales", "set_album", items, payees, para, price, False)

    def bind(self) -> None:
        """Say on the chain whose signature the artist's manifests have. After the first `offer`."""
        deployed = self.market.deployed
        registry, artist = (
            bytes.fromhex(one[2:]) for one in (deployed.addresses["registry"], self.market.artist)
        )
        message = binding_message(deployed.chain_id, registry, artist)
        with Vault.open(self.stack.data / VAULT) as vault:
            self.market.tell(self.market.artist, "registry", "bind_key", vault.artist_key, vault.sign(message))

    def close(self) -> None:
        self.stack.stop()
        self.market.close()
