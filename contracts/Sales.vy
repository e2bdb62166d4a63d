# pragma version ==0.4.3
# pragma evm-version cancun
# pragma nonreentrancy on
"""
@title Tracks and albums sold to listeners: money waits here until the key is there
@license Apache-2.0
@notice What is sold is an item: a track by its id in the registry, or an album by its id here. A buyer pays and
        names a key; the artist's vault delivers the track's key (the album's keys, in its order), wrapped to it,
        in a transaction that also gives the money to the payees. What is not delivered in time goes back to the
        buyer. Either one or the other: a delivery counts only before the time is over, a refund only after it.

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

interface Permitting:
    def permit(
        owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32
    ): nonpayable


MAX_TRACKS: constant(uint256) = 64
# A byte for the suite, a P-256 key, 64 track keys and the tag.
MAX_WRAPPED: constant(uint256) = 2_130
MAX_PAYEES: constant(uint256) = 8
WHOLE_BPS: constant(uint256) = 10_000
COIN: constant(address) = empty(address)
MOST: constant(uint256) = 2**88 - 1
TIME: constant(uint256) = 2**40 - 1
AT_LEAST: constant(uint256) = 1 << 88
PLACE: constant(uint256) = 63 << 89
ALBUM: constant(uint256) = 1 << 95

# What became of a purchase; 0 is none.
WAITING: constant(uint256) = 1
DELIVERED: constant(uint256) = 2

# What a buyer's key is for.
X25519: constant(uint256) = 1
P256: constant(uint256) = 2

DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
PURCHASE_TYPE: constant(bytes32) = keccak256(
    "Purchase(string title,string artist,string price,bytes32 item,address token,uint256 amount,address buyer,bytes32 listeningKey,uint8 keySuite,uint256 deadline)"
)
# Half of the curve's order: a signature with a greater s has a twin with a smaller one (EIP-2).
MOST_S: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

struct Offer:
    token: address
    price: uint256
    is_at_least: bool

struct Purchase:
    amount: uint256
    deliver_before: uint256
    token: address
    is_delivered: bool

struct Album:
    owner: address
    tracks: DynArray[bytes32, MAX_TRACKS]
    payees: DynArray[Payee, MAX_PAYEES]

# The first three are the hashes of what the signer's wallet showed in words.
struct SignedPurchase:
    title: bytes32
    artist: bytes32
    price: bytes32
    item: bytes32
    token: address
    amount: uint256
    buyer: address
    buyer_key: bytes32
    suite: uint256
    deadline: uint256

struct Signature:
    v: uint8
    r: bytes32
    s: bytes32

event OfferSet:
    item: indexed(bytes32)
    token: indexed(address)
    price: uint256
    is_at_least: bool

event AlbumSet:
    item: indexed(bytes32)
    owner: indexed(address)
    tracks: DynArray[bytes32, MAX_TRACKS]
    payees: DynArray[Payee, MAX_PAYEES]

event OfferEnded:
    item: indexed(bytes32)

event Purchased:
    item: indexed(bytes32)
    buyer: indexed(address)
    buyer_key: bytes32
    token: address
    amount: uint256
    deliver_before: uint256

event PurchasedP256:
    item: indexed(bytes32)
    buyer: indexed(address)
    buyer_key: bytes32
    token: address
    amount: uint256
    deliver_before: uint256

event KeyDelivered:
    item: indexed(bytes32)
    buyer: indexed(address)
    wrapped_key: Bytes[MAX_WRAPPED]

event KeyGiven:
    item: indexed(bytes32)
    buyer: indexed(address)
    wrapped_key: Bytes[MAX_WRAPPED]

event Refunded:
    item: indexed(bytes32)
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

# price, 88 bits | is_at_least, 1 | place of the token among `tokens`, 6 | is an album, 1 | the token, 160.
offers: HashMap[bytes32, uint256]
# By item and buyer: amount, 88 bits | 1 unused | place of the token, 6 | is an album, 1 | deliver_before, 40 | state, 8.
purchases: HashMap[bytes32, HashMap[address, uint256]]
albums: HashMap[bytes32, Album]
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
def offer(item: bytes32) -> Offer:
    """
    @notice What an item costs. Reverts with not_for_sale where it costs nothing.
    """
    word: uint256 = self.offers[item]
    assert word != 0, "not_for_sale"
    return Offer(
        token=convert(word >> 96, address), price=word & MOST, is_at_least=(word & AT_LEAST) != 0
    )


@external
@view
def album(item: bytes32) -> Album:
    """
    @notice owner is the zero address for one that was never set.
    """
    return self.albums[item]


@external
@pure
def album_id(owner: address, tracks: DynArray[bytes32, MAX_TRACKS]) -> bytes32:
    return keccak256(abi_encode(owner, tracks))


@external
@view
def purchase(item: bytes32, buyer: address) -> Purchase:
    """
    @notice All zero where nothing was bought, or it was given back; amount is 0 where the key was given.
    """
    word: uint256 = self.purchases[item][buyer]
    if word == 0:
        return empty(Purchase)
    return Purchase(
        amount=word & MOST,
        deliver_before=(word >> 96) & TIME,
        token=self._token(word),
        is_delivered=(word >> 136) == DELIVERED,
    )


@external
@view
def accepted_tokens() -> DynArray[address, 8]:
    """
    @notice What may be asked for; the zero address is the chain's own coin.
    """
    return self.tokens


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    return self._domain()


# What an artist does


@external
def set_offer(track: bytes32, token: address, price: uint256, is_at_least: bool):
    """
    @notice Sells a track of the caller's. Who has paid already is not touched by it.
    @param is_at_least the buyer may give more
    """
    self._check_owner(track, msg.sender)
    self._offer(track, token, price, is_at_least, 0)


@external
def set_album(
    tracks: DynArray[bytes32, MAX_TRACKS],
    payees: DynArray[Payee, MAX_PAYEES],
    token: address,
    price: uint256,
    is_at_least: bool,
):
    """
    @notice Sells tracks of the caller's together, 2 to 64 of them, or at another price than before. Its id is
            keccak256(abi.encode(caller, tracks)).
    @param payees who shares the income of those who buy from now on, and of those who wait
    """
    assert len(tracks) >= 2, "bad_album"
    for track: bytes32 in tracks:
        self._check_owner(track, msg.sender)
    whole: uint256 = 0
    for payee: Payee in payees:
        assert payee.account != empty(address) and payee.share_bps > 0, "bad_split"
        assert payee.share_bps <= WHOLE_BPS, "bad_split"
        whole += payee.share_bps
    assert whole == WHOLE_BPS, "bad_split"
    item: bytes32 = keccak256(abi_encode(msg.sender, tracks))
    if self.albums[item].owner == empty(address):
        self.albums[item].owner = msg.sender
        self.albums[item].tracks = tracks
    self.albums[item].payees = payees
    log AlbumSet(item=item, owner=msg.sender, tracks=tracks, payees=payees)
    self._offer(item, token, price, is_at_least, ALBUM)


@external
def end_offer(item: bytes32):
    """
    @notice Sells it no longer.
    """
    offered: uint256 = self.offers[item]
    if (offered & ALBUM) != 0:
        assert self.albums[item].owner == msg.sender, "not_the_owner"
    else:
        self._check_owner(item, msg.sender)
    assert offered != 0, "not_for_sale"
    self.offers[item] = 0
    log OfferEnded(item=item)


@external
def appoint(vault: address, is_appointed: bool):
    """
    @notice Lets another account deliver the keys of all the caller's tracks, or no longer.
    """
    self.vaults[msg.sender][vault] = is_appointed
    log VaultAppointed(owner=msg.sender, vault=vault, is_appointed=is_appointed)


@external
def deliver(item: bytes32, buyer: address, wrapped_key: Bytes[MAX_WRAPPED]):
    """
    @notice Gives the buyer the key, and the money to the payees, who fetch it with `withdraw`.
    @dev A vault sends this only while there is time enough that it gets into a block before the time is over:
         from then on the buyer could have both, the key from the mempool and the money from here.
    """
    word: uint256 = self.purchases[item][buyer]
    assert (word >> 136) == WAITING, "nothing_to_deliver"
    assert block.timestamp < (word >> 96) & TIME, "too_late"
    assert len(wrapped_key) > 0, "empty_key"
    is_album: bool = (word & ALBUM) != 0
    self._check_vault(item, is_album)
    self.purchases[item][buyer] = word + (1 << 136)
    log KeyDelivered(item=item, buyer=buyer, wrapped_key=wrapped_key)
    payees: DynArray[Payee, MAX_PAYEES] = []
    if is_album:
        payees = self.albums[item].payees
    else:
        payees = staticcall Registry(registry).split(item)
    self._pay(payees, self._token(word), word & MOST)


@external
def give(item: bytes32, buyer: address, wrapped_key: Bytes[MAX_WRAPPED]):
    """
    @notice Gives somebody the key for nothing, or for what was paid elsewhere; or once more, to another key of
            the same account. Who has paid here and waits is delivered to.
    """
    word: uint256 = self.purchases[item][buyer]
    assert (word >> 136) != WAITING, "deliver_it"
    assert buyer != empty(address), "bad_purchase"
    assert len(wrapped_key) > 0, "empty_key"
    self._check_vault(item, self.albums[item].owner != empty(address))
    if word == 0:
        self.purchases[item][buyer] = DELIVERED << 136
    log KeyGiven(item=item, buyer=buyer, wrapped_key=wrapped_key)


# What a buyer does


@external
@payable
def buy(item: bytes32, token: address, amount: uint256, buyer_key: bytes32):
    """
    @notice Pays for an item, once.
    @param token as the buyer was shown it: an offer that changed meanwhile is refused
    @param amount likewise; more only where the offer is the least
    @param buyer_key X25519; what the key will be wrapped to
    """
    self._buy(item, msg.sender, token, amount, buyer_key, X25519)


@external
@payable
def buy_p256(item: bytes32, token: address, amount: uint256, buyer_key: bytes32):
    """
    @notice The same with a P-256 key.
    @param buyer_key the x of a key whose y is even
    """
    self._buy(item, msg.sender, token, amount, buyer_key, P256)


@external
@payable
def buy_signed(said: SignedPurchase, signed: Signature, permitted: Signature, permitted_until: uint256):
    """
    @notice The same for somebody who signed it (EIP-712), so that others may pay for the gas. Tokens are the
            buyer's, the coin is the sender's; what is given back is the buyer's.
    @dev A signature is not good for a second purchase: the first one stands until `deliver_before`, and the
         deadline is never behind that.
    @param permitted the buyer's permit (EIP-2612) of just the amount, if `permitted_until` is not 0. One that
           is refused is no harm where the allowance is there.
    """
    assert block.timestamp < said.deadline, "signature_expired"
    assert said.deadline <= block.timestamp + deliver_within_s, "bad_deadline"
    assert said.suite == X25519 or said.suite == P256, "bad_purchase"
    digest: bytes32 = keccak256(
        concat(b"\x19\x01", self._domain(), keccak256(abi_encode(PURCHASE_TYPE, said)))
    )
    assert convert(signed.s, uint256) <= MOST_S and said.buyer != empty(address), "signature_forged"
    assert ecrecover(digest, signed.v, signed.r, signed.s) == said.buyer, "signature_forged"
    if permitted_until != 0 and said.token != COIN:
        done: bool = raw_call(
            said.token,
            abi_encode(
                said.buyer,
                self,
                said.amount,
                permitted_until,
                permitted.v,
                permitted.r,
                permitted.s,
                method_id=method_id("permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"),
            ),
            revert_on_failure=False,
        )
    self._buy(said.item, said.buyer, said.token, said.amount, said.buyer_key, said.suite)


@external
def refund(item: bytes32, buyer: address):
    """
    @notice Gives back what was paid for a key that did not come in time. Anybody may ask for it; the buyer gets
            it, with `withdraw`, and may buy again.
    """
    word: uint256 = self.purchases[item][buyer]
    assert (word >> 136) == WAITING, "nothing_to_refund"
    assert block.timestamp >= (word >> 96) & TIME, "too_early"
    self.purchases[item][buyer] = 0
    self.credits[self._token(word)][buyer] += word & MOST
    log Refunded(item=item, buyer=buyer, amount=word & MOST)


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
    return self.tokens[(word & PLACE) >> 89]


@internal
@view
def _domain() -> bytes32:
    # Made anew each time: after a fork of the chain a signature counts on one side only.
    return keccak256(
        abi_encode(DOMAIN_TYPE, keccak256("DIGM Sales"), keccak256("1"), chain.id, self)
    )


@internal
@view
def _check_owner(track: bytes32, who: address):
    owner: address = empty(address)
    is_withdrawn: bool = False
    owner, is_withdrawn = staticcall Registry(registry).standing(track)
    assert owner == who, "not_the_owner"
    assert not is_withdrawn, "withdrawn"


@internal
@view
def _check_vault(item: bytes32, is_album: bool):
    owner: address = empty(address)
    if is_album:
        owner = self.albums[item].owner
    else:
        owner = (staticcall Registry(registry).standing(item))[0]
    assert msg.sender == owner or self.vaults[owner][msg.sender], "not_the_vault"


@internal
def _offer(item: bytes32, token: address, price: uint256, is_at_least: bool, album: uint256):
    assert price > 0 and price <= MOST, "bad_price"
    place: uint256 = 0
    for allowed: address in self.tokens:
        if allowed == token:
            break
        place += 1
    assert place < len(self.tokens), "token_not_allowed"
    flag: uint256 = convert(is_at_least, uint256) << 88
    self.offers[item] = price | flag | (place << 89) | album | (convert(token, uint256) << 96)
    log OfferSet(item=item, token=token, price=price, is_at_least=is_at_least)


@internal
@payable
def _buy(item: bytes32, buyer: address, token: address, amount: uint256, buyer_key: bytes32, suite: uint256):
    offered: uint256 = self.offers[item]
    assert offered != 0, "not_for_sale"
    assert convert(token, uint256) == offered >> 96, "offer_changed"
    price: uint256 = offered & MOST
    assert amount == price or (amount > price and (offered & AT_LEAST) != 0), "offer_changed"
    assert amount <= MOST and buyer_key != empty(bytes32), "bad_purchase"
    if (offered & ALBUM) == 0:
        assert not (staticcall Registry(registry).standing(item))[1], "withdrawn"
    else:
        self._check_album(item)
    assert self.purchases[item][buyer] == 0, "bought_already"
    deliver_before: uint256 = unsafe_add(block.timestamp, deliver_within_s)
    self.purchases[item][buyer] = (
        amount | (offered & (PLACE | ALBUM)) | (deliver_before << 96) | (WAITING << 136)
    )
    if suite == X25519:
        log Purchased(
            item=item,
            buyer=buyer,
            buyer_key=buyer_key,
            token=token,
            amount=amount,
            deliver_before=deliver_before,
        )
    else:
        log PurchasedP256(
            item=item,
            buyer=buyer,
            buyer_key=buyer_key,
            token=token,
            amount=amount,
            deliver_before=deliver_before,
        )
    if token == COIN:
        assert msg.value == amount, "wrong_value"
    else:
        assert msg.value == 0, "wrong_value"
        self._receive(buyer, token, amount)


@internal
@view
def _check_album(item: bytes32):
    owner: address = self.albums[item].owner
    count: uint256 = len(self.albums[item].tracks)
    for i: uint256 in range(count, bound=MAX_TRACKS):
        holder: address = empty(address)
        is_withdrawn: bool = False
        holder, is_withdrawn = staticcall Registry(registry).standing(self.albums[item].tracks[i])
        assert not is_withdrawn, "withdrawn"
        # Its keys may not be the seller's to give any more.
        assert holder == owner, "album_changed"


@internal
def _receive(payer: address, token: address, amount: uint256):
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(
        payer, self, amount, default_return_value=True
    ), "transfer_refused"
    # A token that keeps a fee, or lies, would leave others to pay for it.
    assert staticcall IERC20(token).balanceOf(self) == before + amount, "transfer_fell_short"


@internal
def _pay(payees: DynArray[Payee, MAX_PAYEES], token: address, amount: uint256):
    """
    @dev What does not divide is the first payee's.
    """
    rest: uint256 = amount
    for payee: Payee in payees:
        share: uint256 = amount * payee.share_bps // WHOLE_BPS
        rest -= share
        self.credits[token][payee.account] += share
    self.credits[token][payees[0].account] += rest
