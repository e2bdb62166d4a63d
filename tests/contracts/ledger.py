"""What must be true of money and of conduct, kept from the contract's events alone, beside the contract."""

from collections import defaultdict
from dataclasses import dataclass, field

from eth_utils.crypto import keccak

from tests.contracts.house import LEAVES_PER_FRAME, MISSES_IN_A_ROW, House
from tests.contracts.machine import Event, Outcome


@dataclass
class Standing:
    """A node as its events tell it."""

    stake: int = 0
    leaving: int = 0
    pins: list[int] = field(default_factory=list)
    last_round: int = 0
    points: int = 0
    is_jailed: bool = False
    free_since: int = 0


@dataclass
class Seat:
    """One node's copy for one order: since when, what it proved, and what it was paid for."""

    accepted_at: int
    proven_s: int = 0
    paid_s: int = 0


class Ledger:
    """Takes in what each transaction wrote, and checks what follows from it.

    Args:
        honest: nodes that prove every challenge in time.
    """

    def __init__(self, house: House, honest: set[bytes]) -> None:
        self.house, self.honest = house, honest
        self.nodes: dict[bytes, Standing] = defaultdict(Standing)
        self.seats: dict[tuple[int, bytes], Seat] = {}
        self.escrow: dict[int, int] = {}
        self.rate: dict[int, int] = {}
        self.track: dict[int, bytes] = {}
        self.seed = b""
        self.ends_at: dict[int, int] = {}
        self.credits: dict[tuple[bytes, bytes], int] = defaultdict(int)
        self.slashed = 0
        self.pool = 0
        self.round = self.round_epoch = self.opened_at = self.previous_at = 0
        self.held: dict[bytes, int] = defaultdict(int)
        self.slashes = 0

    # -- taking in

    def take(self, outcome: Outcome) -> None:
        """The logs of a transaction that went through, in their order."""
        house = self.house
        for token in (house.para, house.digm):
            for event in token.events(outcome):
                if event.name == "Transfer":
                    self._transfer(token.address, event)
        for event in house.pinning.events(outcome):
            getattr(self, "_on_" + event.name, lambda _: None)(event.fields)
        self.check()

    def _transfer(self, token: bytes, event: Event) -> None:
        pinning, value = self.house.pinning.address, event.fields["value"]
        self.held[token] += value * (event.fields["receiver"] == pinning)
        self.held[token] -= value * (event.fields["sender"] == pinning)

    def _on_NodeJoined(self, said):
        self.nodes[said["node"]].stake = said["stake"]

    def _on_StakeAdded(self, said):
        self.nodes[said["node"]].stake += said["amount"]

    def _on_StakeLeaving(self, said):
        self.nodes[said["node"]].stake -= said["amount"]
        self.nodes[said["node"]].leaving += said["amount"]

    def _on_StakeCollected(self, said):
        assert said["amount"] == self.nodes[said["node"]].leaving
        self.nodes[said["node"]].leaving = 0

    def _cut(self, node: Standing, cut: int) -> None:
        from_stake = min(cut, node.stake)
        node.stake -= from_stake
        node.leaving -= cut - from_stake
        self.slashed += cut

    def _on_PinGivenBack(self, said):
        self._cut(self.nodes[said["node"]], said["cost"])
        self._leave(said)

    def _on_Slashed(self, said):
        node = self.nodes[said["node"]]
        assert said["node"] not in self.honest
        assert said["missed"] == self.missed(said["node"])
        assert self.is_slashable(said["node"])
        assert said["cut"] == (node.stake + node.leaving) * self.house.rules["slash_bps"] // 10_000
        self._cut(node, said["cut"])
        self.slashed -= said["bounty"]
        self.credits[self.house.digm.address, said["reporter"]] += said["bounty"]
        node.is_jailed, node.points, node.last_round = True, 0, self.round
        self.slashes += 1

    def _on_Unjailed(self, said):
        self.nodes[said["node"]].is_jailed = False
        self.nodes[said["node"]].free_since = self.house.machine.now
        self.nodes[said["node"]].last_round = self.round

    def _fee(self, cost: int) -> int:
        return cost * self.house.rules["fee_bps"] // 10_000

    def _on_PinOrdered(self, said):
        order = said["order_id"]
        self.escrow[order], self.rate[order], self.ends_at[order] = (
            said["escrow"],
            said["rate"],
            said["ends_at"],
        )
        self.track[order] = said["track"]
        self.pool += self._fee(said["escrow"])

    def _on_OrderExtended(self, said):
        self.escrow[said["order_id"]] += said["added"]
        self.ends_at[said["order_id"]] = said["ends_at"]
        self.pool += self._fee(said["added"])

    def _on_OrderCancelled(self, said):
        self.ends_at[said["order_id"]] = said["ends_at"]

    def _on_OrderClosed(self, said):
        order = said["order_id"]
        assert said["refund"] == self.escrow[order]
        assert not any(seat[0] == order for seat in self.seats)
        self.escrow[order] = 0
        owner = self.house.pinning.ask("order", order)["owner"]
        self.credits[self.house.para.address, owner] += said["refund"]

    def _on_PinAccepted(self, said):
        node = self.nodes[said["node"]]
        if not node.pins:
            node.last_round = self.round
        node.pins.append(said["order_id"])
        self.seats[said["order_id"], said["node"]] = Seat(self.house.machine.now)

    def _on_PinSettled(self, said):
        order, node = said["order_id"], said["node"]
        seat = self.seats[order, node]
        seat.paid_s += said["proven_s"]
        assert seat.paid_s <= seat.proven_s, "paid for time that was not proven"
        if node in self.honest:
            assert seat.paid_s == seat.proven_s, "an honest node was not paid for all that it proved"
        assert said["amount"] == said["proven_s"] * self.rate[order], "escrow did not reach"
        self.escrow[order] -= said["amount"]
        self.credits[self.house.para.address, node] += said["amount"]

    def _leave(self, said):
        node = self.nodes[said["node"]]
        missed = self.missed(said["node"])
        # As the contract does it: the last one moves to the free place. Which pin is asked for hangs on it.
        place, last = node.pins.index(said["order_id"]), node.pins.pop()
        if last != said["order_id"]:
            node.pins[place] = last
        if not node.pins:
            node.points += missed * self.house.rules["miss_points"]
            node.last_round += missed
        del self.seats[said["order_id"], said["node"]]

    _on_PinReleased = _on_PinEvicted = _leave

    def _on_RoundOpened(self, said):
        assert said["round"] == self.round + 1
        assert said["epoch"] > self.round_epoch
        self.previous_at = self.opened_at
        self.round, self.round_epoch, self.opened_at = said["round"], said["epoch"], self.house.machine.now
        self.seed = said["seed"]
        self.pool -= said["bounty"]
        self.credits[self.house.para.address, said["sealer"]] += said["bounty"]

    def _on_AuditPassed(self, said):
        node, rules = self.nodes[said["node"]], self.house.rules
        assert said["missed_before"] == self.missed(said["node"])
        assert not self.is_slashable(said["node"])
        node.points = max(0, node.points + said["missed_before"] * rules["miss_points"] - rules["pass_points"])
        assert said["points"] == node.points
        assert node.last_round < said["round"] == self.round
        node.last_round = self.round
        for order in node.pins:
            seat = self.seats[order, said["node"]]
            since = max(self.previous_at, seat.accepted_at, node.free_since)
            seat.proven_s += max(0, min(self.opened_at, self.ends_at[order]) - since)

    def _on_Withdrawn(self, said):
        assert self.credits[said["token"], said["account"]] == said["amount"]
        self.credits[said["token"], said["account"]] = 0

    def _on_SlashedBurnt(self, said):
        assert said["amount"] == self.slashed
        self.slashed = 0

    # -- what follows

    def challenge(self, who: bytes) -> tuple[bytes, int, int] | None:
        """Track, chunk and leaf that a node is asked for in the newest round; None without a pin."""
        pins = self.nodes[who].pins
        if not pins or not self.seed:
            return None
        draw = int.from_bytes(keccak(self.seed + bytes(12) + who), "big")
        track = self.track[pins[draw % 2**128 % len(pins)]]
        leaf_counts = self.house.tracks[track].leaf_counts
        frame = (draw >> 128) // LEAVES_PER_FRAME % (sum(leaf_counts) // LEAVES_PER_FRAME)
        for chunk, count in enumerate(leaf_counts):
            if frame < count // LEAVES_PER_FRAME:
                return track, chunk, frame * LEAVES_PER_FRAME + (draw >> 128) % LEAVES_PER_FRAME
            frame -= count // LEAVES_PER_FRAME
        raise AssertionError("a leaf behind the end")

    def missed(self, who: bytes) -> int:
        """Rounds that are over and that the node owed an answer to, in a row."""
        node = self.nodes[who]
        if node.is_jailed or not node.pins:
            return 0
        over = self.round - (self.round_epoch == self.epoch())
        return max(0, over - node.last_round)

    def is_slashable(self, who: bytes) -> bool:
        rules, missed = self.house.rules, self.missed(who)
        points = self.nodes[who].points + missed * rules["miss_points"]
        return missed >= MISSES_IN_A_ROW or (missed > 0 and points >= rules["points_limit"])

    def epoch(self) -> int:
        """Of the block that was mined last."""
        start = self.house.start_block
        return (self.house.machine.block - start) // self.house.rules["epoch_blocks"] + 1

    def check(self) -> None:
        """Every unit of each token that the contract holds is somebody's, and nobody's more than once."""
        para, digm = self.house.para.address, self.house.digm.address
        owed = {para: self.pool + sum(self.escrow.values()), digm: self.slashed}
        owed[digm] += sum(node.stake + node.leaving for node in self.nodes.values())
        for (token, _), amount in self.credits.items():
            owed[token] += amount
        assert self.held[para] == owed[para]
        assert self.held[digm] == owed[digm]
        assert min(self.escrow.values(), default=0) >= 0
        assert self.pool >= 0

    def compare(self) -> None:
        """The contract's own word for all of it."""
        ask = self.house.pinning.ask
        for token in (self.house.para, self.house.digm):
            assert token.ask("balanceOf", self.house.pinning.address) == self.held[token.address]
        for (token, who), amount in self.credits.items():
            assert ask("credits", token, who) == amount
        assert ask("audit_pool") == self.pool
        assert ask("slashed", self.house.digm.address) == self.slashed
        for order, escrow in self.escrow.items():
            facts = ask("order", order)
            assert (facts["escrow"], facts["ends_at"]) == (escrow, self.ends_at[order])
            assert facts["taken"] == sum(seat[0] == order for seat in self.seats) <= facts["replicas"]
        for who, node in self.nodes.items():
            facts = ask("node", who)
            assert (facts["stake"], facts["leaving"], facts["pins"]) == (
                node.stake,
                node.leaving,
                len(node.pins),
            )
            assert ask("pins_of", who, 0, 256) == node.pins
            billed = sum(ask("order", order)["billed_bytes"] for order in node.pins)
            assert facts["pinned_bytes"] == billed
