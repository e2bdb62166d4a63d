# pragma version ==0.4.3
# pragma evm-version cancun
# pragma nonreentrancy on
"""
@title Passes: listening to everything of somebody for some time
@license Apache-2.0
@notice Anybody, an artist or who keeps a site, sells passes of its own. What a pass is good for says its issuer,
        who gives full grants to those who have one; here stands only who paid, and until when. The money is the
        issuer's at once: a pass is bought from somebody who is trusted to honour it, for a short time each.
        There is no owner, no fee, and no way to take a pass away.
"""

from ethereum.ercs import IERC20


COIN: constant(address) = empty(address)
MOST: constant(uint256) = 2**88 - 1
MOST_S: constant(uint256) = 366 * 86_400

struct PassOffer:
    token: address
    price: uint256
    duration_s: uint256

event PassSet:
    issuer: indexed(address)
    token: indexed(address)
    price: uint256
    duration_s: uint256

event PassEnded:
    issuer: indexed(address)

event PassBought:
    issuer: indexed(address)
    account: indexed(address)
    token: address
    price: uint256
    until: uint256

event PassGiven:
    issuer: indexed(address)
    account: indexed(address)
    until: uint256

event Withdrawn:
    token: indexed(address)
    account: indexed(address)
    amount: uint256

tokens: DynArray[address, 8]
passes: HashMap[address, PassOffer]
until: public(HashMap[address, HashMap[address, uint256]])
credits: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(tokens_: DynArray[address, 8]):
    """
    @param tokens_ what may be asked for; the zero address is the chain's own coin
    """
    assert len(tokens_) > 0, "bad_tokens"
    for token: address in tokens_:
        assert token == COIN or token.is_contract, "bad_tokens"
        assert token not in self.tokens, "bad_tokens"
        self.tokens.append(token)


@external
@view
def offer(issuer: address) -> PassOffer:
    """
    @notice What a pass costs. Reverts with not_for_sale where there is none.
    """
    assert self.passes[issuer].duration_s != 0, "not_for_sale"
    return self.passes[issuer]


@external
@view
def accepted_tokens() -> DynArray[address, 8]:
    """
    @notice What may be asked for; the zero address is the chain's own coin.
    """
    return self.tokens


@external
def set_pass(token: address, price: uint256, duration_s: uint256):
    """
    @notice Sells passes of the caller's; who has one keeps it.
    @param duration_s a minute to 366 days
    """
    assert token in self.tokens, "token_not_allowed"
    assert price > 0 and price <= MOST, "bad_price"
    assert duration_s >= 60 and duration_s <= MOST_S, "bad_duration"
    self.passes[msg.sender] = PassOffer(token=token, price=price, duration_s=duration_s)
    log PassSet(issuer=msg.sender, token=token, price=price, duration_s=duration_s)


@external
def end_pass():
    """
    @notice Sells them no longer.
    """
    assert self.passes[msg.sender].duration_s != 0, "not_for_sale"
    self.passes[msg.sender] = empty(PassOffer)
    log PassEnded(issuer=msg.sender)


@external
def give_pass(account: address, duration_s: uint256):
    """
    @notice A pass of the caller's for nothing, or for what was paid elsewhere.
    """
    assert account != empty(address), "bad_purchase"
    assert duration_s > 0 and duration_s <= MOST_S, "bad_duration"
    log PassGiven(issuer=msg.sender, account=account, until=self._extend(msg.sender, account, duration_s))


@external
@payable
def buy_pass(issuer: address, token: address, price: uint256, duration_s: uint256):
    """
    @notice A pass, or a longer one: it begins where the one that the caller has ends.
    @param token as the buyer was shown it, like the others: an offer that changed meanwhile is refused
    """
    offered: PassOffer = self.passes[issuer]
    assert offered.duration_s != 0, "not_for_sale"
    assert offered.token == token and offered.price == price, "offer_changed"
    assert offered.duration_s == duration_s, "offer_changed"
    until: uint256 = self._extend(issuer, msg.sender, duration_s)
    self.credits[token][issuer] += price
    log PassBought(issuer=issuer, account=msg.sender, token=token, price=price, until=until)
    if token == COIN:
        assert msg.value == price, "wrong_value"
        return
    assert msg.value == 0, "wrong_value"
    before: uint256 = staticcall IERC20(token).balanceOf(self)
    assert extcall IERC20(token).transferFrom(
        msg.sender, self, price, default_return_value=True
    ), "transfer_refused"
    # A token that keeps a fee, or lies, would leave others to pay for it.
    assert staticcall IERC20(token).balanceOf(self) == before + price, "transfer_fell_short"


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


@internal
def _extend(issuer: address, account: address, duration_s: uint256) -> uint256:
    """
    @dev Nobody's reaches further than 2**40, whatever is given.
    """
    until: uint256 = max(self.until[issuer][account], block.timestamp) + duration_s
    assert until < 2**40, "bad_duration"
    self.until[issuer][account] = until
    return until
