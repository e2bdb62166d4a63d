"""What a node with a stake does next for the contract `Pinning`: prove, seal, slash, accept, release, claim.

Given what the contract says at one block, what the node has, and its policy, `next_deeds` says what is to be
done now. It is asked again at every block, and remembers nothing: after kill -9 the same facts lead to the same
deeds. The chain's clock counts, never the node's. How they are done is `hub.keeping`'s business.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

GIB = 1 << 30
DAY_S = 86_400
MOST_PINS = 4096
"""Of one node; so the contract has it."""
SEAL_SPACING, SLASH_SPACING = 2, 2
"""Blocks by which each further node waits before it does what one would be enough for."""
MOST_FETCHES, MOST_AT_ONCE = 3, 8
"""Tracks that are fetched at once, and other deeds."""
SOON = 2
"""Blocks that a transaction may take: what is forbidden from then on is not begun any more."""


class Kind(IntEnum):
    """What can be done, the most urgent first."""

    PROVE = 0
    SEAL = 1
    SLASH = 2
    RELEASE = 3
    ACCEPT = 4
    FETCH = 5
    CLAIM = 6
    LET_GO = 7


@dataclass(frozen=True, order=True)
class Deed:
    """Something to do.

    Attributes:
        order_id: for `RELEASE`, `ACCEPT`, `FETCH`, `LET_GO`. round: for `PROVE`; for `SEAL` the epoch.
        node: whom to `SLASH`; in whose place to `ACCEPT`, if somebody is in jail.
    """

    kind: Kind
    order_id: int = 0
    round: int = 0
    node: str = ""

    @property
    def is_transaction(self) -> bool:
        return self.kind not in (Kind.FETCH, Kind.LET_GO)


@dataclass(frozen=True)
class Clock:
    """The contract's time at a block (`Pinning.clock`); seconds since 1970."""

    block: int
    time_s: int
    epoch: int
    seed_block: int
    last_seal_block: int
    ends_before_block: int
    round: int
    round_epoch: int
    opened_at: int

    @property
    def is_round_open(self) -> bool:
        return self.round > 0 and self.round_epoch == self.epoch

    @property
    def is_seed_near(self) -> bool:
        """Whether a transaction of now may come when the seed is known, and lists of pins cannot change."""
        return self.round_epoch < self.epoch and self.seed_block - SOON <= self.block < self.seed_block


@dataclass(frozen=True)
class Account:
    """What the contract says of this node at that block (`Pinning.node`).

    Attributes:
        minimum: the stake of its class. per_gib: stake for each GiB that is promised.
        pins: orders of which it has a place.
        owed: PARA that it could withdraw, with what settling would credit.
    """

    address: str
    stake: int = 0
    minimum: int = 0
    per_gib: int = 0
    pinned_bytes: int = 0
    pins: tuple[int, ...] = ()
    last_round: int = 0
    jailed_until: int = 0
    is_slashable: bool = False
    has_open_challenge: bool = False
    owed: int = 0

    @property
    def may_change(self) -> bool:
        """Whether the contract lets its list of places change now; in jail it can only leave them."""
        return not (self.is_slashable or self.has_open_challenge)

    def has_room_for(self, more_bytes: int) -> bool:
        """Whether its stake is enough to promise so much more."""
        return self.stake >= self.minimum and (
            (self.pinned_bytes + more_bytes) * self.per_gib <= self.stake * GIB
        )


@dataclass(frozen=True)
class Offer:
    """An order, as far as it is known.

    Attributes:
        audit_root: of the track's bytes: one copy of the same bytes is paid, however many orders there are.
        billed_bytes: what the stake has to reach for. byte_size: what the disk has to.
        price: PARA (10^-18) for a GiB and day.
        taken: places that are taken. jailed: of these, by nodes that sit in jail.
        turn: this node's place among those that may step in, 0 the first; None: it is not one of them.
        waited_s: since it was first seen that places are free, on any clock that runs as fast as others.
    """

    order_id: int
    audit_root: bytes
    billed_bytes: int
    byte_size: int
    price: int
    ends_at: int
    replicas: int
    taken: int
    jailed: tuple[str, ...] = ()
    is_withdrawn: bool = False
    turn: int | None = 0
    waited_s: float = 0.0

    @property
    def free_places(self) -> int:
        return self.replicas - self.taken + len(self.jailed)

    def is_over(self, time_s: int) -> bool:
        return time_s >= self.ends_at

    def is_open(self, time_s: int) -> bool:
        """Whether there is a place to take."""
        return self.free_places > 0 and not self.is_withdrawn and not self.is_over(time_s)


@dataclass(frozen=True)
class Own:
    """What the node has.

    Attributes:
        ready: orders whose bytes lie here whole, kept, and with the audit root that the chain says.
        kept: orders for which bytes are kept or being fetched.
        free_bytes: what may still be kept.
    """

    ready: frozenset[int] = frozenset()
    kept: frozenset[int] = frozenset()
    free_bytes: int = 0


@dataclass(frozen=True)
class Policy:
    """What the operator wants.

    Attributes:
        least_price: PARA (10^-18) for a GiB and day; orders below are left to others.
        least_left_s: an order has to last so long still.
        step_s: what each turn waits for the one before it.
        claim_at: PARA (10^-18); that much has to be owed for it to be worth the gas.
        release_grace_s: of the contract: so long after its end an order's last proof is waited for.
        epoch_blocks: of the contract.
    """

    is_taking: bool = True
    least_price: int = 0
    least_left_s: int = 60
    step_s: float = 30.0
    claim_at: int = 10**18
    most_orders: int = MOST_PINS
    release_grace_s: int = 0
    epoch_blocks: int = 5


@dataclass(frozen=True)
class Facts:
    """All that is known at one block.

    Attributes:
        offers: by id: all orders that run, and those of which the node has a place or keeps bytes.
        guilty: nodes that the contract would slash now, with this node's turn to do it.
        seal_turn: its turn to seal.
        resting: deeds that are being done.
        given_up: orders whose bytes were wrong, or that nobody gave just now: they take nobody's room.
    """

    clock: Clock
    account: Account
    own: Own = field(default_factory=Own)
    offers: Mapping[int, Offer] = field(default_factory=dict)
    guilty: Mapping[str, int] = field(default_factory=dict)
    seal_turn: int = 0
    resting: Collection[Deed] = ()
    given_up: Collection[int] = ()


def price_of(rate: int, billed_bytes: int) -> int:
    """PARA (10^-18) for a GiB and day, of an order that pays `rate` a second for so many bytes."""
    return rate * GIB * DAY_S // billed_bytes if billed_bytes else 0


def turn_of(subject: bytes, me: str, others: Iterable[str]) -> int:
    """How many of the others come before this account, where one is enough: another order for each subject."""

    def weight(account: str) -> bytes:
        return hashlib.sha256(subject + account.lower().encode()).digest()

    mine = weight(me)
    return sum(weight(one) < mine for one in set(others) if one.lower() != me.lower())


def may_begin(deed: Deed, busy: Collection[Deed]) -> bool:
    """Whether it may begin beside what is being done."""
    # Two transactions about one order would trip over each other.
    if any(one.kind is deed.kind and (one == deed or one.order_id == deed.order_id != 0) for one in busy):
        return False
    fetches = sum(one.kind is Kind.FETCH for one in busy)
    if deed.kind is Kind.FETCH:  # who gives bytes slowly holds up neither proofs nor payments
        return fetches < MOST_FETCHES
    return deed.kind is Kind.PROVE or len(busy) - fetches < MOST_AT_ONCE


def next_deeds(facts: Facts, policy: Policy) -> list[Deed]:
    """What to do now, the most urgent first; without what is resting."""
    deeds = [*_for_the_round(facts, policy), *_for_orders(facts, policy)]
    is_leaving = any(deed.kind is Kind.RELEASE for deed in (*deeds, *facts.resting))
    deeds += _tidying(facts, policy, is_leaving)
    return sorted(deed for deed in deeds if deed not in facts.resting)


def _for_the_round(facts: Facts, policy: Policy) -> Iterable[Deed]:
    clock, account = facts.clock, facts.account
    if not account.jailed_until and account.pins:
        if clock.is_round_open and account.last_round < clock.round and not account.is_slashable:
            yield Deed(Kind.PROVE, round=clock.round)
        if _is_seal_due(clock, facts.seal_turn):
            yield Deed(Kind.SEAL, round=clock.epoch)
    into_epoch = clock.block - (clock.ends_before_block - policy.epoch_blocks)
    for node, turn in facts.guilty.items():
        if into_epoch >= turn * SLASH_SPACING and node != account.address:
            yield Deed(Kind.SLASH, node=node)


def _is_seal_due(clock: Clock, turn: int) -> bool:
    """The transaction will be in the next block at the earliest; in the second half of the window all try."""
    if clock.round_epoch >= clock.epoch or not clock.seed_block <= clock.block < clock.last_seal_block:
        return False
    patience = (clock.last_seal_block - clock.seed_block) // 2
    return clock.block >= clock.seed_block + min(turn * SEAL_SPACING, patience)


def _for_orders(facts: Facts, policy: Policy) -> Iterable[Deed]:
    account = facts.account
    is_late = bool(account.pins) and facts.clock.is_seed_near
    for order_id in account.pins:
        offer = facts.offers.get(order_id)
        if (
            offer is not None
            and account.may_change
            and not is_late
            and _may_be_released(offer, facts.clock, account, policy)
        ):
            yield Deed(Kind.RELEASE, order_id)
        elif offer is not None and order_id not in facts.own.ready:
            yield Deed(Kind.FETCH, order_id)  # such as a disk that was lost: what was promised is owed
    for offer in wanted(facts, policy):
        if offer.order_id not in facts.own.ready:
            yield Deed(Kind.FETCH, offer.order_id)
        elif account.may_change and not is_late:
            yield Deed(Kind.ACCEPT, offer.order_id, node=_place_of(offer))


def _may_be_released(offer: Offer, clock: Clock, account: Account, policy: Policy) -> bool:
    """When no more can be earned: the last stretch is paid by the first proof of a round behind the end."""
    if offer.is_withdrawn:
        return True
    is_all_proven = account.last_round == clock.round and clock.opened_at >= offer.ends_at
    is_all_proven = is_all_proven or bool(account.jailed_until)  # in jail nothing is proven any more
    is_late = clock.time_s >= offer.ends_at + policy.release_grace_s
    return offer.is_over(clock.time_s) and (is_all_proven or is_late)


def _place_of(offer: Offer) -> str:
    """Whose place it will be: a free one where there is one, else one of a node in jail."""
    if offer.taken < offer.replicas:
        return ""
    return offer.jailed[(offer.turn or 0) % len(offer.jailed)]


def wanted(facts: Facts, policy: Policy) -> Sequence[Offer]:
    """Orders that the node would take a place of now, as far as stake, disk and policy go; oldest first."""
    account, own = facts.account, facts.own
    if not policy.is_taking or account.jailed_until or account.is_slashable or not account.stake:
        return []
    paid_for = {facts.offers[one].audit_root for one in account.pins if one in facts.offers}
    found: list[Offer] = []
    billed, size, places = 0, 0, min(policy.most_orders, MOST_PINS) - len(account.pins)
    # What is here already comes first: it needs no room, and others wait for it.
    for offer in sorted(facts.offers.values(), key=lambda one: (one.order_id not in own.kept, one.order_id)):
        if offer.order_id in account.pins or offer.audit_root in paid_for or len(found) >= places:
            continue
        if not _is_acceptable(offer, facts, policy):
            continue
        needed = 0 if offer.order_id in own.kept else offer.byte_size
        if size + needed > own.free_bytes or not account.has_room_for(billed + offer.billed_bytes):
            continue
        found.append(offer)
        paid_for.add(offer.audit_root)
        billed, size = billed + offer.billed_bytes, size + needed
    return sorted(found, key=lambda one: one.order_id)


def _is_acceptable(offer: Offer, facts: Facts, policy: Policy) -> bool:
    if not offer.is_open(facts.clock.time_s) or offer.price < policy.least_price:
        return False
    if offer.order_id in facts.given_up:
        return False
    if offer.ends_at - facts.clock.time_s < policy.least_left_s:
        return False
    if offer.order_id in facts.own.kept:
        return True  # it was our turn when we began to fetch
    if offer.turn is None:
        return False
    # The first as many as there are places begin at once, each further one a step later.
    behind = offer.turn - offer.free_places + 1
    return behind <= 0 or offer.waited_s >= behind * policy.step_s


def _tidying(facts: Facts, policy: Policy, is_leaving: bool) -> Iterable[Deed]:
    """Release settles by itself; a claim of the same copies that comes at the same time would fail."""
    account, clock = facts.account, facts.clock
    if account.owed >= max(1, policy.claim_at) and not is_leaving:
        yield Deed(Kind.CLAIM)
    for order_id in facts.own.kept - set(account.pins):
        offer = facts.offers.get(order_id)
        if offer is not None and not offer.is_open(clock.time_s):
            yield Deed(Kind.LET_GO, order_id)
