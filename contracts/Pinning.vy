# pragma version ==0.4.3
# pragma evm-version cancun
# pragma nonreentrancy on
"""
@title Pin orders, stakes, audits and rewards
@license Apache-2.0
@notice Artists (or anybody) lock PARA for copies of a track; nodes with a stake take a place each, prove once an
        epoch that they still have what they promised, and are paid for the time that they proved. Who misses
        three audits in a row, or too many at all, is slashed and jailed.

        There is no owner. All rules are set at deployment, within the bounds of `__init__`, and never change.
        Money leaves only towards whom it belongs to, and only when they fetch it (`withdraw`, `collect_stake`).

        Rounds. Blocks are counted in epochs: first a quiet phase, then the seed block, then the audit phase. The
        hash of the seed block is sealed by whoever is first (for a bounty), within 256 blocks and the first half
        of the audit phase, so that the other half is left to answer; that opens the next round. An epoch that
        nobody seals has no round: nobody gains or loses by it. A node answers the one challenge that the seed and
        its address stand for, before the epoch ends. While its challenge may be known and is not answered, a
        node's list of pins cannot change, so that nobody can choose the question.
"""

from ethereum.ercs import IERC20

import merkle


struct AuditPlace:
    audit_root: bytes32
    chunk: uint256
    chunks: uint256
    leaf: uint256
    leaves: uint256

interface Registry:
    def pin_terms(track: bytes32) -> (bytes32, uint256, bool): view
    def audit_place(track: bytes32, draw: uint256) -> AuditPlace: view


MAX_TOKENS: constant(uint256) = 8
MAX_PINS: constant(uint256) = 4096
MAX_REPLICAS: constant(uint256) = 100
MAX_PATH: constant(uint256) = 20
MAX_DURATION_S: constant(uint256) = 120 * 2_629_746
MISSES_IN_A_ROW: constant(uint256) = 3
WHOLE_BPS: constant(uint256) = 10_000
DAY_S: constant(uint256) = 86_400
GIB: constant(uint256) = 2**30
# No sum of stakes or escrows that a token can have reaches this; products below stay far under 2^256.
MOST: constant(uint256) = 2**120
NOBODY: constant(address) = 0x000000000000000000000000000000000000dEaD

ELDERNODE: constant(uint256) = 1
COLD: constant(uint256) = 2

struct Rules:
    epoch_blocks: uint256
    quiet_blocks: uint256
    unstake_delay_s: uint256
    jail_s: uint256
    cancel_notice_s: uint256
    release_grace_s: uint256
    min_duration_s: uint256
    min_pin_bytes: uint256
    min_price: uint256
    slash_bps: uint256
    bounty_bps: uint256
    give_back_bps: uint256
    fee_bps: uint256
    seal_bounty: uint256
    miss_points: uint256
    pass_points: uint256
    points_limit: uint256

# What a stake in one token has to be: at least so much for each class, and so much for each GiB that is promised.
struct StakeTerms:
    token: address
    elder_minimum: uint256
    cold_minimum: uint256
    per_gib: uint256

struct Node:
    token: address
    node_class: uint256
    stake: uint256
    leaving: uint256
    leaving_at: uint256
    pinned_bytes: uint256

# One word in storage: last_round and points, 40 bits each; the others, 44 each.
struct Conduct:
    last_round: uint256
    points: uint256
    proven_s: uint256
    proven_at: uint256
    jailed_until: uint256
    free_since: uint256

# terms: ends_at, 48 bits | replicas, 8 | taken, 8 | is_cancelled, 8 | created_at, 48 | billed bytes, 64.
struct Order:
    track: bytes32
    owner: address
    rate: uint256
    escrow: uint256
    terms: uint256

struct Terms:
    ends_at: uint256
    replicas: uint256
    taken: uint256
    is_cancelled: bool
    created_at: uint256
    billed_bytes: uint256

# One word in storage: mark, 64 bits | place, 32 | accepted_at, 48 (never 0).
struct Pin:
    mark: uint256
    place: uint256
    accepted_at: uint256

# One word in storage, 64 bits each.
struct Round:
    number: uint256
    epoch: uint256
    opened_at: uint256
    previous_at: uint256

struct NodeFacts:
    token: address
    node_class: uint256
    stake: uint256
    leaving: uint256
    leaving_at: uint256
    pinned_bytes: uint256
    pins: uint256
    last_round: uint256
    missed: uint256
    points: uint256
    jailed_until: uint256
    is_slashable: bool
    has_open_challenge: bool

struct OrderFacts:
    track: bytes32
    owner: address
    rate: uint256
    escrow: uint256
    created_at: uint256
    ends_at: uint256
    replicas: uint256
    taken: uint256
    billed_bytes: uint256
    is_cancelled: bool

struct Challenge:
    round: uint256
    order_id: uint256
    track: bytes32
    audit_root: bytes32
    chunk: uint256
    chunks: uint256
    leaf: uint256
    leaves: uint256

struct Clock:
    epoch: uint256
    seed_block: uint256
    last_seal_block: uint256
    ends_before_block: uint256
    round: uint256
    round_epoch: uint256
    opened_at: uint256

event NodeJoined:
    node: indexed(address)
    node_key: indexed(bytes32)
    node_class: uint256
    token: address
    stake: uint256

event StakeAdded:
    node: indexed(address)
    amount: uint256

event StakeLeaving:
    node: indexed(address)
    amount: uint256
    ready_at: uint256

event StakeCollected:
    node: indexed(address)
    amount: uint256

event PinOrdered:
    order_id: indexed(uint256)
    track: indexed(bytes32)
    owner: indexed(address)
    replicas: uint256
    ends_at: uint256
    rate: uint256
    escrow: uint256

event OrderExtended:
    order_id: indexed(uint256)
    ends_at: uint256
    added: uint256

event OrderCancelled:
    order_id: indexed(uint256)
    ends_at: uint256

event OrderClosed:
    order_id: indexed(uint256)
    refund: uint256

event PinAccepted:
    order_id: indexed(uint256)
    node: indexed(address)

event PinSettled:
    order_id: indexed(uint256)
    node: indexed(address)
    amount: uint256
    proven_s: uint256

event PinReleased:
    order_id: indexed(uint256)
    node: indexed(address)

event PinEvicted:
    order_id: indexed(uint256)
    node: indexed(address)

event PinGivenBack:
    order_id: indexed(uint256)
    node: indexed(address)
    cost: uint256

event RoundOpened:
    round: indexed(uint256)
    epoch: uint256
    seed: bytes32
    sealer: address
    bounty: uint256

event AuditPassed:
    node: indexed(address)
    round: indexed(uint256)
    order_id: uint256
    missed_before: uint256
    points: uint256

event Slashed:
    node: indexed(address)
    reporter: indexed(address)
    cut: uint256
    bounty: uint256
    missed: uint256
    jailed_until: uint256

event Unjailed:
    node: indexed(address)

event Withdrawn:
    token: indexed(address)
    account: indexed(address)
    amount: uint256

event SlashedBurnt:
    token: indexed(address)
    amount: uint256

registry: public(immutable(address))
para: public(immutable(address))
start_block: public(immutable(uint256))
rules: public(immutable(Rules))

stake_terms: public(HashMap[address, StakeTerms])
stake_tokens: DynArray[address, MAX_TOKENS]

nodes: HashMap[address, Node]
conducts: HashMap[address, uint256]
pin_lists: HashMap[address, DynArray[uint256, MAX_PINS]]
pins: HashMap[address, HashMap[uint256, uint256]]
# One node is paid once for one set of bytes, however many orders there are for it.
holds: HashMap[address, HashMap[bytes32, bool]]

orders: HashMap[uint256, Order]
order_count: public(uint256)
round_word: uint256
seed: public(bytes32)

credits: public(HashMap[address, HashMap[address, uint256]])
slashed: public(HashMap[address, uint256])
audit_pool: public(uint256)


@deploy
def __init__(registry_: address, para_: address, rules_: Rules, tokens: DynArray[StakeTerms, MAX_TOKENS]):
    """
    @notice Every bound that a rule has is here; docs/chain.md says what they are for.
    """
    assert registry_.is_contract and para_.is_contract, "not_a_contract"
    assert rules_.epoch_blocks >= 5 and rules_.epoch_blocks <= 1_000_000, "bad_epoch"
    assert rules_.quiet_blocks >= 1 and rules_.quiet_blocks <= rules_.epoch_blocks - 4, "bad_epoch"
    assert rules_.unstake_delay_s <= 365 * DAY_S and rules_.jail_s <= 365 * DAY_S, "bad_delay"
    assert rules_.cancel_notice_s <= 90 * DAY_S and rules_.release_grace_s <= 90 * DAY_S, "bad_delay"
    assert rules_.min_duration_s >= 1 and rules_.min_duration_s <= 365 * DAY_S, "bad_duration"
    assert rules_.min_pin_bytes >= 1 and rules_.min_pin_bytes <= 2**50, "bad_pin_bytes"
    assert rules_.min_price <= MOST, "bad_price"
    assert rules_.slash_bps >= 100 and rules_.slash_bps <= 5_000, "bad_slash"
    assert rules_.bounty_bps <= 2_000 and rules_.give_back_bps <= 5_000, "bad_slash"
    assert rules_.fee_bps <= 500 and rules_.seal_bounty <= MOST, "bad_fee"
    assert rules_.pass_points >= 1 and rules_.pass_points <= rules_.miss_points, "bad_points"
    assert rules_.miss_points <= 2**24, "bad_points"
    # One miss alone never slashes.
    assert rules_.points_limit > rules_.miss_points and rules_.points_limit <= 2**32, "bad_points"
    assert len(tokens) > 0, "bad_tokens"
    registry = registry_
    para = para_
    rules = rules_
    start_block = block.number
    for terms: StakeTerms in tokens:
        assert terms.token.is_contract and self.stake_terms[terms.token].token == empty(address), "bad_tokens"
        assert terms.elder_minimum >= 1 and terms.elder_minimum <= MOST, "bad_tokens"
        assert terms.cold_minimum >= 1 and terms.cold_minimum <= MOST, "bad_tokens"
        assert terms.per_gib >= 1 and terms.per_gib <= MOST, "bad_tokens"
        self.stake_terms[terms.token] = terms
        self.stake_tokens.append(terms.token)
    self._save_round(Round(number=0, epoch=0, opened_at=block.timestamp, previous_at=block.timestamp))


# What can be asked


@external
@view
def tokens() -> DynArray[address, MAX_TOKENS]:
    """
    @notice In which tokens a stake can be.
    """
    return self.stake_tokens


@external
@view
def node(who: address) -> NodeFacts:
    node: Node = self.nodes[who]
    conduct: Conduct = self._conduct(who)
    missed: uint256 = self._missed(who, conduct)
    return NodeFacts(
        token=node.token,
        node_class=node.node_class,
        stake=node.stake,
        leaving=node.leaving,
        leaving_at=node.leaving_at,
        pinned_bytes=node.pinned_bytes,
        pins=len(self.pin_lists[who]),
        last_round=conduct.last_round,
        missed=missed,
        points=conduct.points + missed * rules.miss_points,
        jailed_until=conduct.jailed_until,
        is_slashable=self._is_slashable(conduct, missed),
        has_open_challenge=self._has_open_challenge(who, conduct),
    )


@external
@view
def order(order_id: uint256) -> OrderFacts:
    order: Order = self.orders[order_id]
    terms: Terms = self._terms(order.terms)
    return OrderFacts(
        track=order.track,
        owner=order.owner,
        rate=order.rate,
        escrow=order.escrow,
        created_at=terms.created_at,
        ends_at=terms.ends_at,
        replicas=terms.replicas,
        taken=terms.taken,
        billed_bytes=terms.billed_bytes,
        is_cancelled=terms.is_cancelled,
    )


@external
@view
def pins_of(who: address, first: uint256, count: uint256) -> DynArray[uint256, 256]:
    """
    @notice The orders for which a node holds copies: at most 256 from the first on.
    """
    found: DynArray[uint256, 256] = []
    have: uint256 = len(self.pin_lists[who])
    if first >= have:
        return found
    for i: uint256 in range(256):
        if i >= count or first + i >= have:
            break
        found.append(self.pin_lists[who][first + i])
    return found


@external
@view
def pin(order_id: uint256, who: address) -> Pin:
    """
    @notice accepted_at is 0 where the node holds no copy for the order.
    """
    return self._pin(order_id, who)


@external
@view
def earned(order_id: uint256, who: address) -> uint256:
    """
    @notice PARA that `settle` would credit to the node now.
    """
    amount: uint256 = 0
    proven_s: uint256 = 0
    amount, proven_s = self._earned(order_id, who, self._pin(order_id, who))
    return amount


@external
@view
def quote(track: bytes32, replicas: uint256, duration_s: uint256, price: uint256) -> (uint256, uint256):
    """
    @return what an order puts into escrow, and the fee that comes on top
    """
    rate: uint256 = 0
    billed_bytes: uint256 = 0
    rate, billed_bytes = self._rate(track, replicas, duration_s, price)
    cost: uint256 = rate * replicas * duration_s
    return cost, cost * rules.fee_bps // WHOLE_BPS


@external
@view
def clock() -> Clock:
    round: Round = self._round()
    epoch: uint256 = self._epoch()
    return Clock(
        epoch=epoch,
        seed_block=self._seed_block(epoch),
        last_seal_block=self._seed_block(epoch) + self._seal_window(),
        ends_before_block=start_block + epoch * rules.epoch_blocks,
        round=round.number,
        round_epoch=round.epoch,
        opened_at=round.opened_at,
    )


@external
@view
def challenge(who: address) -> Challenge:
    """
    @notice What a node has to prove now; refused as `prove` would be.
    """
    round: Round = self._round()
    conduct: Conduct = self._conduct(who)
    self._check_challenged(who, conduct, round)
    return self._challenge(who, round)


# Stakes


@external
def join(node_class: uint256, token: address, amount: uint256, node_key: bytes32):
    """
    @notice Makes the caller a node.
    @param node_class 1: Eldernode, 2: COLD L3 node
    @param node_key the Ed25519 key of its announcements, as an event only: they name this address in turn
    """
    assert node_class == ELDERNODE or node_class == COLD, "no_such_class"
    assert self.stake_terms[token].token != empty(address), "token_not_allowed"
    assert self.nodes[msg.sender].stake == 0 and self.nodes[msg.sender].leaving == 0, "already_joined"
    # A node that was slashed to nothing comes back by `add_stake` and `unjail`, not by a new name for itself.
    assert self._conduct(msg.sender).jailed_until == 0, "jailed"
    assert amount <= MOST, "too_much"
    self.nodes[msg.sender].token = token
    self.nodes[msg.sender].node_class = node_class
    self.nodes[msg.sender].stake = amount
    self._check_stake(msg.sender)
    log NodeJoined(node=msg.sender, node_key=node_key, node_class=node_class, token=token, stake=amount)
    self._receive(token, amount)


@external
def add_stake(amount: uint256):
    assert self.nodes[msg.sender].node_class != 0, "not_a_node"
    assert amount > 0, "nothing_to_add"
    assert amount <= MOST and self.nodes[msg.sender].stake + amount <= MOST, "too_much"
    self.nodes[msg.sender].stake += amount
    log StakeAdded(node=msg.sender, amount=amount)
    self._receive(self.nodes[msg.sender].token, amount)


@external
def request_unstake(amount: uint256):
    """
    @notice Moves stake to the door, where it waits for `unstake_delay_s`; until it is collected it can be slashed.
            What stays has to be enough for the class and for the pins, or nothing at all.
    """
    assert amount > 0, "nothing_to_unstake"
    assert amount <= self.nodes[msg.sender].stake, "stake_too_small"
    self._check_not_slashable(msg.sender)
    self.nodes[msg.sender].stake -= amount
    if self.nodes[msg.sender].stake > 0 or self.nodes[msg.sender].pinned_bytes > 0:
        self._check_stake(msg.sender)
    self.nodes[msg.sender].leaving += amount
    ready_at: uint256 = block.timestamp + rules.unstake_delay_s
    self.nodes[msg.sender].leaving_at = ready_at
    log StakeLeaving(node=msg.sender, amount=amount, ready_at=ready_at)


@external
def collect_stake():
    """
    @notice Pays out what has waited long enough.
    """
    amount: uint256 = self.nodes[msg.sender].leaving
    assert amount > 0, "nothing_to_collect"
    assert block.timestamp >= self.nodes[msg.sender].leaving_at, "too_early"
    self._check_not_slashable(msg.sender)
    self.nodes[msg.sender].leaving = 0
    log StakeCollected(node=msg.sender, amount=amount)
    self._send(self.nodes[msg.sender].token, msg.sender, amount)


# Orders


@external
def place_order(track: bytes32, replicas: uint256, duration_s: uint256, price: uint256) -> uint256:
    """
    @notice Orders copies of a track and locks what they cost at most; anybody may, for any track.
    @param price PARA (10^-18) for a GiB and day of one copy
    @return the order's id
    """
    rate: uint256 = 0
    billed_bytes: uint256 = 0
    rate, billed_bytes = self._rate(track, replicas, duration_s, price)
    cost: uint256 = rate * replicas * duration_s
    fee: uint256 = cost * rules.fee_bps // WHOLE_BPS
    order_id: uint256 = self.order_count + 1
    self.order_count = order_id
    ends_at: uint256 = block.timestamp + duration_s
    terms: Terms = Terms(
        ends_at=ends_at,
        replicas=replicas,
        taken=0,
        is_cancelled=False,
        created_at=block.timestamp,
        billed_bytes=billed_bytes,
    )
    self.orders[order_id] = Order(
        track=track, owner=msg.sender, rate=rate, escrow=cost, terms=self._terms_word(terms)
    )
    self.audit_pool += fee
    log PinOrdered(
        order_id=order_id,
        track=track,
        owner=msg.sender,
        replicas=replicas,
        ends_at=ends_at,
        rate=rate,
        escrow=cost,
    )
    self._receive(para, cost + fee)
    return order_id


@external
def extend(order_id: uint256, duration_s: uint256):
    """
    @notice Makes an order last longer at its own rate; anybody may pay for it. What is left of it at the end is
            the order's owner's.
    """
    terms: Terms = self._live_terms(order_id)
    assert not terms.is_cancelled, "order_cancelled"
    assert duration_s > 0 and duration_s <= MAX_DURATION_S, "bad_duration"
    terms.ends_at += duration_s
    assert terms.ends_at <= block.timestamp + MAX_DURATION_S, "bad_duration"
    cost: uint256 = self.orders[order_id].rate * terms.replicas * duration_s
    fee: uint256 = cost * rules.fee_bps // WHOLE_BPS
    self.orders[order_id].terms = self._terms_word(terms)
    self.orders[order_id].escrow += cost
    self.audit_pool += fee
    log OrderExtended(order_id=order_id, ends_at=terms.ends_at, added=cost)
    self._receive(para, cost + fee)


@external
def cancel(order_id: uint256):
    """
    @notice Ends an order after `cancel_notice_s`, at once where no node has taken a place. What was not earned by
            then is refunded by `close`, once the nodes have released their copies.
    """
    assert self.orders[order_id].owner == msg.sender, "not_the_owner"
    terms: Terms = self._live_terms(order_id)
    assert not terms.is_cancelled, "order_cancelled"
    terms.is_cancelled = True
    if terms.taken == 0:
        terms.ends_at = block.timestamp
    else:
        terms.ends_at = min(terms.ends_at, block.timestamp + rules.cancel_notice_s)
    self.orders[order_id].terms = self._terms_word(terms)
    log OrderCancelled(order_id=order_id, ends_at=terms.ends_at)


@external
def close(order_id: uint256):
    """
    @notice Credits to the owner what is left of an order that is over and whose copies are all released.
    """
    terms: Terms = self._terms(self.orders[order_id].terms)
    assert terms.created_at != 0, "no_such_order"
    assert block.timestamp >= terms.ends_at, "order_running"
    assert terms.taken == 0, "copies_not_released"
    refund: uint256 = self.orders[order_id].escrow
    assert refund > 0, "already_closed"
    self.orders[order_id].escrow = 0
    self.credits[para][self.orders[order_id].owner] += refund
    log OrderClosed(order_id=order_id, refund=refund)


# A node's copies


@external
def accept(order_id: uint256, instead_of: address):
    """
    @notice Takes a place of an order. A node does so when it has every byte and has computed the audit root
            itself: a publisher who lied about it could otherwise have it slashed.
    @param instead_of a jailed node whose place it is; or the zero address
    """
    if instead_of != empty(address):
        self._evict(order_id, instead_of)
    conduct: Conduct = self._conduct(msg.sender)
    assert self.nodes[msg.sender].node_class != 0, "not_a_node"
    assert conduct.jailed_until == 0, "jailed"
    assert not self._is_slashable(conduct, self._missed(msg.sender, conduct)), "slash_first"
    assert not self._has_open_challenge(msg.sender, conduct), "challenge_open"
    terms: Terms = self._live_terms(order_id)
    assert terms.taken < terms.replicas, "order_full"
    assert self.pins[msg.sender][order_id] == 0, "already_accepted"
    audit_root: bytes32 = empty(bytes32)
    byte_size: uint256 = 0
    is_withdrawn: bool = False
    audit_root, byte_size, is_withdrawn = staticcall Registry(registry).pin_terms(self.orders[order_id].track)
    assert not is_withdrawn, "track_withdrawn"
    assert not self.holds[msg.sender][audit_root], "already_paid_for_it"
    place: uint256 = len(self.pin_lists[msg.sender])
    assert place < MAX_PINS, "too_many_pins"

    round: Round = self._round()
    if place == 0:
        # Duty begins with the next round: this one's question may be known already.
        conduct.last_round = round.number
        self._save_conduct(msg.sender, conduct)
    self.holds[msg.sender][audit_root] = True
    self.pin_lists[msg.sender].append(order_id)
    # The next round that is passed proves the time since this one was opened; what lies before now is not ours.
    self._save_pin(
        order_id,
        msg.sender,
        Pin(
            mark=conduct.proven_s + block.timestamp - round.opened_at,
            place=place,
            accepted_at=block.timestamp,
        ),
    )
    self.nodes[msg.sender].pinned_bytes += terms.billed_bytes
    self._check_stake(msg.sender)
    terms.taken += 1
    self.orders[order_id].terms = self._terms_word(terms)
    log PinAccepted(order_id=order_id, node=msg.sender)


@external
def settle(order_id: uint256, who: address):
    """
    @notice Credits to a node what it has proven since the last time, whatever number of rounds that is.
    """
    assert self.pins[who][order_id] != 0, "no_such_pin"
    self._settle(order_id, who)


@external
def settle_many(order_ids: DynArray[uint256, 64], who: address):
    for order_id: uint256 in order_ids:
        assert self.pins[who][order_id] != 0, "no_such_pin"
        self._settle(order_id, who)


@external
def release(order_id: uint256, who: address):
    """
    @notice Gives up a copy whose order is over, or whose track was withdrawn. The node itself may at once,
            everybody `release_grace_s` after the end.
    """
    assert self.pins[who][order_id] != 0, "no_such_pin"
    terms: Terms = self._terms(self.orders[order_id].terms)
    if msg.sender != who:
        assert block.timestamp >= terms.ends_at + rules.release_grace_s, "order_running"
    elif block.timestamp < terms.ends_at:
        audit_root: bytes32 = empty(bytes32)
        byte_size: uint256 = 0
        is_withdrawn: bool = False
        audit_root, byte_size, is_withdrawn = staticcall Registry(registry).pin_terms(
            self.orders[order_id].track
        )
        assert is_withdrawn, "order_running"
    self._check_list_is_free(who)
    self._settle(order_id, who)
    self._remove_pin(order_id, who)
    log PinReleased(order_id=order_id, node=who)


@external
def give_back(order_id: uint256):
    """
    @notice Gives up a copy before its order is over, at the cost of `give_back_bps` of the stake behind it.
    """
    assert self.pins[msg.sender][order_id] != 0, "no_such_pin"
    self._check_list_is_free(msg.sender)
    assert self._conduct(msg.sender).jailed_until == 0, "jailed"
    self._settle(order_id, msg.sender)
    billed_bytes: uint256 = self._terms(self.orders[order_id].terms).billed_bytes
    self._remove_pin(order_id, msg.sender)
    behind: uint256 = billed_bytes * self.stake_terms[self.nodes[msg.sender].token].per_gib // GIB
    cost: uint256 = self._cut_stake(msg.sender, behind * rules.give_back_bps // WHOLE_BPS)
    self.slashed[self.nodes[msg.sender].token] += cost
    log PinGivenBack(order_id=order_id, node=msg.sender, cost=cost)


@external
def evict(order_id: uint256, who: address):
    """
    @notice Frees the place of a jailed node; it is paid what it had proven.
    """
    self._evict(order_id, who)


# Audits


@external
def seal():
    """
    @notice Opens this epoch's round with the hash of its seed block, and pays for that from the audit pool.
    """
    epoch: uint256 = self._epoch()
    round: Round = self._round()
    assert round.epoch < epoch, "already_sealed"
    seed_block: uint256 = self._seed_block(epoch)
    assert block.number > seed_block, "too_early"
    assert block.number <= seed_block + self._seal_window(), "too_late"
    round = Round(
        number=round.number + 1, epoch=epoch, opened_at=block.timestamp, previous_at=round.opened_at
    )
    self._save_round(round)
    self.seed = keccak256(abi_encode(blockhash(seed_block), self, epoch))
    bounty: uint256 = min(rules.seal_bounty, self.audit_pool)
    if bounty > 0:
        self.audit_pool -= bounty
        self.credits[para][msg.sender] += bounty
    log RoundOpened(round=round.number, epoch=epoch, seed=self.seed, sealer=msg.sender, bounty=bounty)


@external
def prove(
    who: address,
    leaf: Bytes[256],
    chunk_path: DynArray[bytes32, MAX_PATH],
    track_path: DynArray[bytes32, MAX_PATH],
):
    """
    @notice Answers a node's challenge; anybody may send it for the node.
    @param leaf the 256 bytes in question, of the encrypted chunk
    @param chunk_path from the leaf to the chunk's audit root
    @param track_path from there to the track's audit root
    """
    round: Round = self._round()
    conduct: Conduct = self._conduct(who)
    missed: uint256 = self._check_challenged(who, conduct, round)
    asked: Challenge = self._challenge(who, round)
    assert len(leaf) == 256, "wrong_proof"
    chunk_root: bytes32 = merkle.root_from(merkle.range_hash(leaf), asked.leaf, asked.leaves, chunk_path)
    root: bytes32 = merkle.root_from(merkle.leaf_hash(chunk_root), asked.chunk, asked.chunks, track_path)
    assert chunk_root != empty(bytes32) and root == asked.audit_root, "wrong_proof"
    conduct.points += missed * rules.miss_points
    conduct.points -= min(conduct.points, rules.pass_points)
    conduct.last_round = round.number
    # Time in jail is not paid for, though the round after it spans some of it.
    conduct.proven_s += round.opened_at - max(round.previous_at, conduct.free_since)
    conduct.proven_at = round.opened_at
    self._save_conduct(who, conduct)
    log AuditPassed(
        node=who,
        round=round.number,
        order_id=asked.order_id,
        missed_before=missed,
        points=conduct.points,
    )


@external
def slash(who: address):
    """
    @notice Cuts the stake of a node that missed three audits in a row, or too many at all, and jails it.
            A share of the cut is the caller's; the rest is nobody's (`burn_slashed`).
    """
    conduct: Conduct = self._conduct(who)
    missed: uint256 = self._missed(who, conduct)
    assert self._is_slashable(conduct, missed), "not_slashable"
    token: address = self.nodes[who].token
    stake: uint256 = self.nodes[who].stake + self.nodes[who].leaving
    cut: uint256 = self._cut_stake(who, stake * rules.slash_bps // WHOLE_BPS)
    bounty: uint256 = cut * rules.bounty_bps // WHOLE_BPS
    self.credits[token][msg.sender] += bounty
    self.slashed[token] += cut - bounty
    conduct.points = 0
    conduct.last_round = self._round().number
    conduct.jailed_until = block.timestamp + rules.jail_s
    self._save_conduct(who, conduct)
    log Slashed(
        node=who,
        reporter=msg.sender,
        cut=cut,
        bounty=bounty,
        missed=missed,
        jailed_until=conduct.jailed_until,
    )


@external
def unjail():
    """
    @notice The way back: after the jail time, with a stake that is enough for the class and the pins that are left.
    """
    conduct: Conduct = self._conduct(msg.sender)
    assert conduct.jailed_until != 0, "not_jailed"
    assert block.timestamp >= conduct.jailed_until, "too_early"
    if self.nodes[msg.sender].stake > 0 or self.nodes[msg.sender].pinned_bytes > 0:
        self._check_stake(msg.sender)
    conduct.jailed_until = 0
    conduct.free_since = block.timestamp
    conduct.last_round = self._round().number
    self._save_conduct(msg.sender, conduct)
    log Unjailed(node=msg.sender)


# Payments


@external
def withdraw(token: address):
    """
    @notice Pays to the caller what is the caller's.
    """
    amount: uint256 = self.credits[token][msg.sender]
    assert amount > 0, "nothing_to_withdraw"
    self.credits[token][msg.sender] = 0
    log Withdrawn(token=token, account=msg.sender, amount=amount)
    self._send(token, msg.sender, amount)


@external
def burn_slashed(token: address):
    """
    @notice Sends what was slashed where nobody can have it.
    """
    amount: uint256 = self.slashed[token]
    assert amount > 0, "nothing_to_burn"
    self.slashed[token] = 0
    log SlashedBurnt(token=token, amount=amount)
    self._send(token, NOBODY, amount)


# Inside: time


@internal
@view
def _epoch() -> uint256:
    """
    @return from 1 on
    """
    return (block.number - start_block) // rules.epoch_blocks + 1


@internal
@view
def _seed_block(epoch: uint256) -> uint256:
    return start_block + (epoch - 1) * rules.epoch_blocks + rules.quiet_blocks


@internal
@view
def _seal_window() -> uint256:
    """
    @return in how many blocks behind the seed block it can be sealed; older hashes than 256 are not to be had
    """
    return min(256, (rules.epoch_blocks - rules.quiet_blocks) // 2)


@internal
@view
def _has_open_challenge(who: address, conduct: Conduct) -> bool:
    """
    @return whether the node's next question may be known and is not answered yet
    """
    if conduct.jailed_until != 0 or len(self.pin_lists[who]) == 0:
        return False
    epoch: uint256 = self._epoch()
    round: Round = self._round()
    if round.epoch == epoch:
        return conduct.last_round < round.number
    seed_block: uint256 = self._seed_block(epoch)
    # Who makes the seed block knows its hash in it.
    return block.number >= seed_block and block.number <= seed_block + self._seal_window()


@internal
@view
def _missed(who: address, conduct: Conduct) -> uint256:
    """
    @return how many rounds in a row are over and were not answered, the latest included
    """
    if conduct.jailed_until != 0 or len(self.pin_lists[who]) == 0:
        return 0
    round: Round = self._round()
    closed: uint256 = round.number
    if round.epoch == self._epoch():
        closed -= 1
    if closed <= conduct.last_round:
        return 0
    return closed - conduct.last_round


@internal
@view
def _is_slashable(conduct: Conduct, missed: uint256) -> bool:
    if missed == 0:
        return False
    return missed >= MISSES_IN_A_ROW or conduct.points + missed * rules.miss_points >= rules.points_limit


@internal
@view
def _check_not_slashable(who: address):
    conduct: Conduct = self._conduct(who)
    assert not self._is_slashable(conduct, self._missed(who, conduct)), "slash_first"


@internal
@view
def _check_list_is_free(who: address):
    conduct: Conduct = self._conduct(who)
    assert not self._is_slashable(conduct, self._missed(who, conduct)), "slash_first"
    assert not self._has_open_challenge(who, conduct), "challenge_open"


@internal
@view
def _check_challenged(who: address, conduct: Conduct, round: Round) -> uint256:
    """
    @return how many rounds the node has missed before this one
    """
    assert round.number > 0 and round.epoch == self._epoch(), "no_open_round"
    assert conduct.jailed_until == 0, "jailed"
    assert len(self.pin_lists[who]) > 0, "nothing_to_prove"
    assert conduct.last_round < round.number, "already_answered"
    missed: uint256 = self._missed(who, conduct)
    assert not self._is_slashable(conduct, missed), "slash_first"
    return missed


@internal
@view
def _challenge(who: address, round: Round) -> Challenge:
    draw: uint256 = convert(keccak256(abi_encode(self.seed, who)), uint256)
    order_id: uint256 = self.pin_lists[who][(draw & (2**128 - 1)) % len(self.pin_lists[who])]
    track: bytes32 = self.orders[order_id].track
    place: AuditPlace = staticcall Registry(registry).audit_place(track, draw >> 128)
    return Challenge(
        round=round.number,
        order_id=order_id,
        track=track,
        audit_root=place.audit_root,
        chunk=place.chunk,
        chunks=place.chunks,
        leaf=place.leaf,
        leaves=place.leaves,
    )


# Inside: money


@internal
def _receive(token: address, amount: uint256):
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(
        msg.sender, self, amount, default_return_value=True
    ), "transfer_refused"
    # A token that keeps a fee, or lies, would leave others to pay for it.
    assert staticcall IERC20(token).balanceOf(self) == before + amount, "transfer_fell_short"


@internal
def _send(token: address, receiver: address, amount: uint256):
    assert extcall IERC20(token).transfer(receiver, amount, default_return_value=True), "transfer_refused"


@internal
@view
def _check_stake(who: address):
    terms: StakeTerms = self.stake_terms[self.nodes[who].token]
    stake: uint256 = self.nodes[who].stake
    minimum: uint256 = terms.elder_minimum
    if self.nodes[who].node_class == COLD:
        minimum = terms.cold_minimum
    assert stake >= minimum, "stake_too_small"
    assert self.nodes[who].pinned_bytes * terms.per_gib <= stake * GIB, "over_capacity"


@internal
def _cut_stake(who: address, wanted: uint256) -> uint256:
    """
    @return what was cut: from the stake first, then from what is leaving
    """
    from_stake: uint256 = min(wanted, self.nodes[who].stake)
    from_leaving: uint256 = min(wanted - from_stake, self.nodes[who].leaving)
    self.nodes[who].stake -= from_stake
    if from_leaving > 0:
        self.nodes[who].leaving -= from_leaving
    return from_stake + from_leaving


@internal
@view
def _rate(track: bytes32, replicas: uint256, duration_s: uint256, price: uint256) -> (uint256, uint256):
    """
    @notice Refuses what cannot be ordered.
    @return PARA a second for one copy, and the bytes that are paid for
    """
    assert replicas > 0 and replicas <= MAX_REPLICAS, "bad_replicas"
    assert duration_s >= rules.min_duration_s and duration_s <= MAX_DURATION_S, "bad_duration"
    audit_root: bytes32 = empty(bytes32)
    byte_size: uint256 = 0
    is_withdrawn: bool = False
    audit_root, byte_size, is_withdrawn = staticcall Registry(registry).pin_terms(track)
    assert audit_root != empty(bytes32), "no_such_track"
    assert not is_withdrawn, "track_withdrawn"
    assert price >= rules.min_price and price <= MOST, "bad_price"
    # Tiny pins would water down the chance that a bigger one is audited: they cost as much as `min_pin_bytes`.
    billed_bytes: uint256 = max(byte_size, rules.min_pin_bytes)
    rate: uint256 = billed_bytes * price // (GIB * DAY_S)
    assert rate > 0, "bad_price"
    return rate, billed_bytes


@internal
@view
def _earned(order_id: uint256, who: address, pin: Pin) -> (uint256, uint256):
    """
    @return PARA, and the seconds that it is for
    """
    if pin.accepted_at == 0:
        return 0, 0
    conduct: Conduct = self._conduct(who)
    ends_at: uint256 = self._terms(self.orders[order_id].terms).ends_at
    proven_s: uint256 = conduct.proven_s
    if conduct.proven_at > ends_at:
        # What was proven behind the end is not paid for.
        proven_s -= min(proven_s, conduct.proven_at - ends_at)
    if proven_s <= pin.mark:
        return 0, 0
    seconds: uint256 = proven_s - pin.mark
    return min(seconds * self.orders[order_id].rate, self.orders[order_id].escrow), seconds


@internal
def _settle(order_id: uint256, who: address):
    pin: Pin = self._pin(order_id, who)
    amount: uint256 = 0
    seconds: uint256 = 0
    amount, seconds = self._earned(order_id, who, pin)
    if seconds == 0:
        return
    pin.mark += seconds
    self._save_pin(order_id, who, pin)
    self.orders[order_id].escrow -= amount
    self.credits[para][who] += amount
    log PinSettled(order_id=order_id, node=who, amount=amount, proven_s=seconds)


# Inside: pins


@internal
def _evict(order_id: uint256, who: address):
    assert self.pins[who][order_id] != 0, "no_such_pin"
    assert self._conduct(who).jailed_until != 0, "not_jailed"
    self._settle(order_id, who)
    self._remove_pin(order_id, who)
    log PinEvicted(order_id=order_id, node=who)


@internal
def _remove_pin(order_id: uint256, who: address):
    pin: Pin = self._pin(order_id, who)
    conduct: Conduct = self._conduct(who)
    missed: uint256 = self._missed(who, conduct)
    moved: uint256 = self.pin_lists[who].pop()
    if moved != order_id:
        self.pin_lists[who][pin.place] = moved
        other: Pin = self._pin(moved, who)
        other.place = pin.place
        self._save_pin(moved, who, other)
    elif len(self.pin_lists[who]) == 0 and missed > 0:
        # Duty ends here; what was missed stays on the account.
        conduct.points += missed * rules.miss_points
        conduct.last_round += missed
        self._save_conduct(who, conduct)
    self.pins[who][order_id] = 0
    terms: Terms = self._terms(self.orders[order_id].terms)
    terms.taken -= 1
    self.orders[order_id].terms = self._terms_word(terms)
    self.nodes[who].pinned_bytes -= terms.billed_bytes
    audit_root: bytes32 = empty(bytes32)
    byte_size: uint256 = 0
    is_withdrawn: bool = False
    audit_root, byte_size, is_withdrawn = staticcall Registry(registry).pin_terms(self.orders[order_id].track)
    self.holds[who][audit_root] = False


@internal
@view
def _live_terms(order_id: uint256) -> Terms:
    terms: Terms = self._terms(self.orders[order_id].terms)
    assert terms.created_at != 0, "no_such_order"
    assert block.timestamp < terms.ends_at, "order_over"
    return terms


# Inside: words in storage


@internal
@pure
def _terms(word: uint256) -> Terms:
    return Terms(
        ends_at=word & (2**48 - 1),
        replicas=(word >> 48) & 255,
        taken=(word >> 56) & 255,
        is_cancelled=(word >> 64) & 255 != 0,
        created_at=(word >> 72) & (2**48 - 1),
        billed_bytes=word >> 120,
    )


@internal
@pure
def _terms_word(terms: Terms) -> uint256:
    cancelled: uint256 = 0
    if terms.is_cancelled:
        cancelled = 1
    return (
        terms.ends_at
        | (terms.replicas << 48)
        | (terms.taken << 56)
        | (cancelled << 64)
        | (terms.created_at << 72)
        | (terms.billed_bytes << 120)
    )


@internal
@view
def _conduct(who: address) -> Conduct:
    word: uint256 = self.conducts[who]
    return Conduct(
        last_round=word & (2**40 - 1),
        points=(word >> 40) & (2**40 - 1),
        proven_s=(word >> 80) & (2**44 - 1),
        proven_at=(word >> 124) & (2**44 - 1),
        jailed_until=(word >> 168) & (2**44 - 1),
        free_since=word >> 212,
    )


@internal
def _save_conduct(who: address, conduct: Conduct):
    self.conducts[who] = (
        conduct.last_round
        | (conduct.points << 40)
        | (conduct.proven_s << 80)
        | (conduct.proven_at << 124)
        | (conduct.jailed_until << 168)
        | (conduct.free_since << 212)
    )


@internal
@view
def _pin(order_id: uint256, who: address) -> Pin:
    word: uint256 = self.pins[who][order_id]
    return Pin(mark=word & (2**64 - 1), place=(word >> 64) & (2**32 - 1), accepted_at=word >> 96)


@internal
def _save_pin(order_id: uint256, who: address, pin: Pin):
    self.pins[who][order_id] = pin.mark | (pin.place << 64) | (pin.accepted_at << 96)


@internal
@view
def _round() -> Round:
    word: uint256 = self.round_word
    return Round(
        number=word & (2**64 - 1),
        epoch=(word >> 64) & (2**64 - 1),
        opened_at=(word >> 128) & (2**64 - 1),
        previous_at=word >> 192,
    )


@internal
def _save_round(round: Round):
    self.round_word = (
        round.number | (round.epoch << 64) | (round.opened_at << 128) | (round.previous_at << 192)
    )
