"""What each call of the contracts costs in gas, beside its budget.

    python -m bench.gas [--json]

On py-evm (Prague rules: call data, EIP-7623's floor and refunds are in it), with a track of 250 chunks of 512
KiB and 12 of 64 KiB, first calls of each account where that is dearer. Ends with 1 where a call
takes more than 5 % above its budget.
"""

from collections.abc import Callable, Iterator

from bench.report import Report, arguments
from digm.merkle import leaf_hash
from tests.contracts import test_signed_purchases as signed
from tests.contracts.house import (
    ELDER_MINIMUM,
    LEAVES_PER_FRAME,
    PRICE,
    House,
    Track,
    Tree,
    build_house,
    track_named,
)
from tests.contracts.machine import ZERO, Contract, Machine, PyEvm
from tests.contracts.test_signed_purchases import BUYER

BUDGETS = {
    "publish": 170_000,
    "revise": 36_000,
    "withdraw a track": 30_000,
    "set split (2 payees)": 100_000,
    "join": 130_000,
    "request unstake": 100_000,
    "purchase": 75_000,
    "purchase in coin": 58_000,
    "deliver a key": 100_000,
    "refund": 54_000,
    "set offer": 62_000,
    "set album (12 tracks)": 510_000,
    "album (12 tracks)": 145_000,
    "deliver 12 keys": 60_000,
    "signed purchase with permit": 115_000,
    "give a key": 60_000,
    "set pass": 100_000,
    "pass": 82_000,
    "pin order": 250_000,
    "extend": 64_000,
    "accept (first)": 280_000,
    "accept (further)": 150_000,
    "replace a jailed node": 250_000,
    "seal": 48_000,
    "audit proof": 90_000,
    "settle of 7 epochs": 110_000,
    "release": 85_000,
    "close": 53_000,
    "slash": 210_000,
    "withdraw PARA": 42_000,
}
TOLERANCE = 0.05


class LongTrack(Track):
    """250 chunks of 512 KiB, 12 of 64 KiB, whose leaves repeat, so that it is made in no time."""

    def __init__(self) -> None:
        super().__init__("seed of a long track", ((1, 1, 1),))
        self.renditions = ((250, 8, 3), (12, 1, 1))
        self.leaf_counts = [8 * LEAVES_PER_FRAME] * 249 + [3 * LEAVES_PER_FRAME] + [LEAVES_PER_FRAME] * 12
        trees = {
            count: Tree([leaf_hash(self.leaf(0, leaf)) for leaf in range(count)])
            for count in set(self.leaf_counts)
        }
        self.trees = [trees[count] for count in self.leaf_counts]
        self.tree = Tree([leaf_hash(tree.root) for tree in self.trees])
        self.audit_root = self.tree.root

    def leaf(self, chunk: int, leaf: int) -> bytes:
        return super().leaf(0, leaf)


def measured(machine: Machine | None = None) -> Iterator[tuple[str, int]]:
    """What each call took, one after the other in one story."""
    house = build_house(machine or PyEvm())
    pinning, registry, artist = house.pinning, house.registry, house.artist
    first, second, heir = house.nodes[:3]

    def gas(contract: Contract, sender: bytes, name: str, *arguments: object) -> int:
        return contract.transact(sender, name, *arguments).gas_used

    track = LongTrack()
    fields = (track.root, track.audit_root, track.manifest_hash, track.renditions, bytes(32))
    yield "publish", gas(registry, artist, "publish", *fields)
    published = registry.ask("track_id", artist, track.root)
    house.tracks[published] = track
    yield "revise", gas(registry, artist, "revise", published, b"2" * 32)
    split = [(artist, 7_500), (heir, 2_500)]
    yield "set split (2 payees)", gas(registry, artist, "set_split", published, split, False)
    yield "withdraw a track", gas(registry, artist, "withdraw", house.publish(track_named("withdrawn")))
    yield from _sales(house, gas, published)
    for node in (first, second, heir):
        cost = gas(pinning, node, "join", 1, house.digm.address, 2 * ELDER_MINIMUM, bytes(32))
    yield "join", cost
    yield "pin order", gas(pinning, artist, "place_order", published, 7, 100_000, PRICE)
    short = house.order(house.publish(track_named("short")), 2, 3_000)
    yield "extend", gas(pinning, artist, "extend", 1, 1_000)
    house.rounds(1, [])
    yield "accept (first)", gas(pinning, first, "accept", 1, ZERO)
    house.accept(second, 1)
    yield from _audits(house, gas, first, second)
    yield "accept (further)", gas(pinning, first, "accept", short, ZERO)
    house.machine.mine(0, 310)
    pinning.send(artist, "cancel", short)
    house.machine.mine(0, 210)
    house.rounds(1, [first])
    yield "release", gas(pinning, first, "release", short, first)
    yield "close", gas(pinning, artist, "close", short)
    yield "withdraw PARA", gas(pinning, first, "withdraw", house.para.address)
    yield "request unstake", gas(pinning, first, "request_unstake", 10)
    pinning.send(house.stranger, "slash", second)
    yield "replace a jailed node", gas(pinning, heir, "accept", 1, second)


def _sales(house: House, gas: Callable[..., int], track: bytes) -> Iterator[tuple[str, int]]:
    sales, artist, (early, late, paying) = house.sales, house.artist, house.nodes[3:6]
    wrapped = bytes(80)  # an X25519 key, an AES key and its tag
    sales.send(artist, "set_offer", track, house.para.address, PRICE, False)
    sales.send(early, "buy", track, house.para.address, PRICE, b"k" * 32)  # the first token that lies there
    yield "purchase", gas(sales, late, "buy", track, house.para.address, PRICE, b"k" * 32)
    yield "deliver a key", gas(sales, artist, "deliver", track, early, wrapped)
    house.machine.mine(0, 86_400)
    yield "refund", gas(sales, late, "refund", track, late)
    sales.send(artist, "set_offer", track, ZERO, PRICE, False)
    bought = sales.transact(paying, "buy", track, ZERO, PRICE, b"k" * 32, value=PRICE)
    yield "purchase in coin", bought.gas_used
    yield from _more_sales(house, gas, track, wrapped)


def _more_sales(
    house: House, gas: Callable[..., int], track: bytes, wrapped: bytes
) -> Iterator[tuple[str, int]]:
    """What is sold in other ways: where it is dearer the first time, it is the first time."""
    sales, passes, artist, (early, late) = house.sales, house.passes, house.artist, house.nodes[3:5]
    para, hash_ = house.para.address, b"h" * 32
    snapshot, tracks = house.machine.snapshot(), []
    for number in range(1, 13):
        root = number.to_bytes(32, "big")
        house.registry.send(artist, "publish", root, hash_, hash_, [(1, 1, 1)], bytes(32))
        tracks.append(house.registry.ask("track_id", artist, root))
    yield "set offer", gas(sales, artist, "set_offer", tracks[0], para, PRICE, False)
    shares = [(artist, 10_000)]
    yield "set album (12 tracks)", gas(sales, artist, "set_album", tracks, shares, para, PRICE, False)
    album = sales.ask("album_id", artist, tracks)
    yield "album (12 tracks)", gas(sales, early, "buy", album, para, PRICE, b"k" * 32)
    keys = bytes(1 + 32 + 12 * 32 + 16)
    yield "deliver 12 keys", gas(sales, artist, "deliver", album, early, keys)
    yield "signed purchase with permit", _signed_purchase(house, tracks[0])
    yield "give a key", gas(sales, artist, "give", tracks[1], late, wrapped)
    yield "set pass", gas(passes, artist, "set_pass", para, PRICE, 86_400)
    passes.send(early, "buy_pass", artist, para, PRICE, 86_400)
    yield "pass", gas(passes, late, "buy_pass", artist, para, PRICE, 86_400)
    house.machine.revert(snapshot)


def _signed_purchase(house: House, track: bytes) -> int:
    house.track = track  # type: ignore[attr-defined] - as the fixture of the signed purchases leaves it
    house.para.send(house.stranger, "transfer", BUYER, PRICE)
    said = signed.purchase(house)
    until = house.machine.now + 3_600
    arguments = (signed.struct(said), signed.signature(house, said), signed.permit(house, until), until)
    return house.sales.transact(house.stranger, "buy_signed", *arguments).gas_used


def _audits(house: House, gas: Callable[..., int], first: bytes, second: bytes) -> Iterator[tuple[str, int]]:
    # A node's conduct is one word, written when it takes its first pin; before the very first round it is zero
    # and the first proof writes it, for 17,100 more. The first seal of all costs 34,200 more than these.
    seals, proofs = [], []
    for n in range(7):
        house.before_block(house.clock()["seed_block"] + 1)
        seals.append(gas(house.pinning, house.stranger, "seal"))
        asked = house.pinning.ask("challenge", first)
        proof = house.tracks[asked["track"]].proof(asked["chunk"], asked["leaf"])
        proofs.append((len(proof[1]) + len(proof[2]), gas(house.pinning, first, "prove", first, *proof)))
        if n < 4:
            house.prove(second)
        house.end_epoch()
    yield "seal", max(seals)
    # The longest paths of this track: 11 levels in the chunk, 9 in the track.
    longest, cost = max(proofs)
    assert longest == 20
    yield "audit proof", cost
    yield "settle of 7 epochs", gas(house.pinning, first, "settle", 1, first)
    snapshot = house.machine.snapshot()
    yield "slash", gas(house.pinning, house.stranger, "slash", second)
    house.machine.revert(snapshot)


def main() -> int:
    options = arguments(__doc__ or "")
    report = Report("gas", options.json)
    exceeded = []
    for name, gas in measured():
        report.row(call=name, gas=gas, budget=BUDGETS[name], share=f"{gas / BUDGETS[name]:.0%}")
        if gas > BUDGETS[name] * (1 + TOLERANCE):
            exceeded.append(name)
    report.summary(exceeded=", ".join(exceeded) or "none")
    return 1 if exceeded else 0


if __name__ == "__main__":
    raise SystemExit(main())
