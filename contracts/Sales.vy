# pragma version ==0.4.3
# pragma evm-version cancun
# pragma nonreentrancy on
"""
@title Tracks sold to listeners: money waits here until the key is there
@license Apache-2.0
@notice A buyer pays and names a key; the artist's vault delivers the track key, wrapped to it, in a transaction
        that also gives the money to the track's payees. What is not delivered in time goes back to the buyer.
        Either one or the other: a delivery counts only before the time is over, a refund only after it.

        The contract cannot see whether a wrapped key is the right one. The buyer can, before anybody else: the
        manifest commits to the track key. There is no owner, no fee and no way to take what is waiting here.
"""

from ethereum.ercs import IERC20


struct Payee:
    account: address
    share_bps: uint256

interface Registry:
    def standing(track: bytes32) -> (address, bool): view
    def split(track: bytes32) -> DynArray[Payee, 8]: view


MAX_WRAPPED: constant(uint256) = 256
WHOLE_BPS: constant(uint256) = 10_000
COIN: constant(address) = empty(address)
MOST: constant(uint256) = 2**88 - 1
TIME: constant(uint256) = 2**40 - 1
AT_LEAST: constant(uint256) = 1 << 88

# What became of a purchase; 0 is none.
WAITING: constant(uint256) = 1
DELIVERED: constant(uint256) = 2

struct Offer:
    token: address
    price: uint256
    is_at_least: bool

struct Purchase:
    amount: uint256
    deliver_before: uint256
    token: address
    is_delivered: bool

event OfferSet:
    track: indexed(bytes32)
    token: indexed(address)
    price: uint256
    is_at_least: bool

event OfferEnded:
    track: indexed(bytes32)

event Purchased:
    track: indexed(bytes32)
    buyer: indexed(address)
    buyer_key: bytes32
    token: address
    amount: uint256
    deliver_before: uint256

event KeyDelivered:
    track: indexed(bytes32)
    buyer: indexed(address)
    wrapped_key: Bytes[MAX_WRAPPED]

event Refunded:
    track: indexed(bytes32)
    buyer: indexed(address)
    amount: uint256

event VaultAppointed:
    owner: indexed(address)
    vault: indexed(address)
    is_appointed: bool

event Withdrawn:
    token: indexed(address)
    account: indexed(address)
    amount: uint256

registry: public(immutable(address))
deliver_within_s: public(immutable(uint256))
tokens: DynArray[address, 8]

# price, 88 bits | is_at_least, 1 | place of the token among `tokens`, 7 | the token, 160.
offers: HashMap[bytes32, uint256]
# By track and buyer: amount, 88 bits | 1 unused | place of the token, 7 | deliver_before, 40 | state, 8.
purchases: HashMap[bytes32, HashMap[address, uint256]]
vaults: public(HashMap[address, HashMap[address, bool]])
credits: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(registry_: address, deliver_within_s_: uint256, tokens_: DynArray[address, 8]):
    """
    @param deliver_within_s_ an hour to 30 days: how long a vault may be away
    @param tokens_ what may be asked for; the zero address is the chain's own coin
    """
    assert registry_.is_contract, "not_a_contract"
    assert deliver_within_s_ >= 3_600 and deliver_within_s_ <= 30 * 86_400, "bad_delay"
    assert len(tokens_) > 0, "bad_tokens"
    for token: address in tokens_:
        assert token == COIN or token.is_contract, "bad_tokens"
        assert token not in self.tokens, "bad_tokens"
        self.tokens.append(token)
    registry = registry_
    deliver_within_s = deliver_within_s_


# What can be asked


@external
@view
def offer(track: bytes32) -> Offer:
    """
    @notice What a track costs. Reverts with not_for_sale where it costs nothing.
    """
    word: uint256 = self.offers[track]
    assert word != 0, "not_for_sale"
    return Offer(
        token=convert(word >> 96, address), price=word & MOST, is_at_least=(word & AT_LEAST) != 0
    )


@external
@view
def purchase(track: bytes32, buyer: address) -> Purchase:
    """
    @notice amount is 0 where nothing was bought, or it was given back.
    """
    word: uint256 = self.purchases[track][buyer]
    if word == 0:
        return empty(Purchase)
    return Purchase(
        amount=word & MOST,
        deliver_before=(word >> 96) & TIME,
        token=self._token(word),
        is_delivered=(word >> 136) == DELIVERED,
    )


# What an artist does


@external
def set_offer(track: bytes32, token: address, price: uint256, is_at_least: bool):
    """
    @notice Sells a track of the caller's. Who has paid already is not touched by it.
    @param is_at_least the buyer may give more
    """
    self._check_owner(track, msg.sender)
    assert price > 0 and price <= MOST, "bad_price"
    place: uint256 = 0
    for allowed: address in self.tokens:
        if allowed == token:
            break
        place += 1
    assert place < len(self.tokens), "token_not_allowed"
    flag: uint256 = convert(is_at_least, uint256) << 88
    self.offers[track] = price | flag | (place << 89) | (convert(token, uint256) << 96)
    log OfferSet(track=track, token=token, price=price, is_at_least=is_at_least)


@external
def end_offer(track: bytes32):
    """
    @notice Sells it no longer.
    """
    self._check_owner(track, msg.sender)
    assert self.offers[track] != 0, "not_for_sale"
    self.offers[track] = 0
    log OfferEnded(track=track)


@external
def appoint(vault: address, is_appointed: bool):
    """
    @notice Lets another account deliver the keys of all the caller's tracks, or no longer.
    """
    self.vaults[msg.sender][vault] = is_appointed
    log VaultAppointed(owner=msg.sender, vault=vault, is_appointed=is_appointed)


@external
def deliver(track: bytes32, buyer: address, wrapped_key: Bytes[MAX_WRAPPED]):
    """
    @notice Gives the buyer the key, and the money to the track's payees, who fetch it with `withdraw`.
    @dev A vault sends this only while there is time enough that it gets into a block before the time is over:
         from then on the buyer could have both, the key from the mempool and the money from here.
    """
    word: uint256 = self.purchases[track][buyer]
    assert (word >> 136) == WAITING, "nothing_to_deliver"
    assert block.timestamp < (word >> 96) & TIME, "too_late"
    assert len(wrapped_key) > 0, "empty_key"
    owner: address = (staticcall Registry(registry).standing(track))[0]
    assert msg.sender == owner or self.vaults[owner][msg.sender], "not_the_vault"
    self.purchases[track][buyer] = word + (1 << 136)
    log KeyDelivered(track=track, buyer=buyer, wrapped_key=wrapped_key)
    self._pay(track, self._token(word), word & MOST)


# What a buyer does


@external
@payable
def buy(track: bytes32, token: address, amount: uint256, buyer_key: bytes32):
    """
    @notice Pays for a track, once.
    @param token as the buyer was shown it: an offer that changed meanwhile is refused
    @param amount likewise; more only where the offer is the least
    @param buyer_key X25519; what the track key will be wrapped to
    """
    offered: uint256 = self.offers[track]
    assert offered != 0, "not_for_sale"
    assert token == convert(offered >> 96, address), "offer_changed"
    price: uint256 = offered & MOST
    assert amount == price or (amount > price and (offered & AT_LEAST) != 0), "offer_changed"
    assert amount <= MOST and buyer_key != empty(bytes32), "bad_purchase"
    assert not (staticcall Registry(registry).standing(track))[1], "withdrawn"
    assert self.purchases[track][msg.sender] == 0, "bought_already"
    deliver_before: uint256 = block.timestamp + deliver_within_s
    self.purchases[track][msg.sender] = (
        amount | (offered & (127 << 89)) | (deliver_before << 96) | (WAITING << 136)
    )
    log Purchased(
        track=track,
        buyer=msg.sender,
        buyer_key=buyer_key,
        token=token,
        amount=amount,
        deliver_before=deliver_before,
    )
    if token == COIN:
        assert msg.value == amount, "wrong_value"
    else:
        assert msg.value == 0, "wrong_value"
        self._receive(token, amount)


@external
def refund(track: bytes32, buyer: address):
    """
    @notice Gives back what was paid for a key that did not come in time. Anybody may ask for it; the buyer gets
            it, with `withdraw`, and may buy again.
    """
    word: uint256 = self.purchases[track][buyer]
    assert (word >> 136) == WAITING, "nothing_to_refund"
    assert block.timestamp >= (word >> 96) & TIME, "too_early"
    self.purchases[track][buyer] = 0
    self.credits[self._token(word)][buyer] += word & MOST
    log Refunded(track=track, buyer=buyer, amount=word & MOST)


@external
def withdraw(token: address):
    """
    @notice Pays to the caller what is the caller's.
    """
    amount: uint256 = self.credits[token][msg.sender]
    assert amount > 0, "nothing_to_withdraw"
    self.credits[token][msg.sender] = 0
    log Withdrawn(token=token, account=msg.sender, amount=amount)
    if token == COIN:
        raw_call(msg.sender, b"", value=amount)
    else:
        assert extcall IERC20(token).transfer(msg.sender, amount, default_return_value=True), "transfer_refused"


# Inside


@internal
@view
def _token(word: uint256) -> address:
    """
    @param word of a purchase
    """
    return self.tokens[(word >> 89) & 127]


@internal
@view
def _check_owner(track: bytes32, who: address):
    owner: address = empty(address)
    is_withdrawn: bool = False
    owner, is_withdrawn = staticcall Registry(registry).standing(track)
    assert owner == who, "not_the_owner"
    assert not is_withdrawn, "withdrawn"


@internal
def _receive(token: address, amount: uint256):
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(
        msg.sender, self, amount, default_return_value=True
    ), "transfer_refused"
    # A token that keeps a fee, or lies, would leave others to pay for it.
    assert staticcall IERC20(token).balanceOf(self) == before + amount, "transfer_fell_short"


@internal
def _pay(track: bytes32, token: address, amount: uint256):
    """
    @dev What does not divide is the first payee's.
    """
    payees: DynArray[Payee, 8] = staticcall Registry(registry).split(track)
    rest: uint256 = amount
    for payee: Payee in payees:
        share: uint256 = amount * payee.share_bps // WHOLE_BPS
        rest -= share
        self.credits[token][payee.account] += share
    self.credits[token][payees[0].account] += rest
