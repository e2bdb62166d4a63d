# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title An ERC-20 of fixed supply with permit (EIP-2612): PARA, and stand-ins for DIGM, XFG and HEAT
@license Apache-2.0
@notice The whole supply exists from the start. There is no owner: nobody can mint, pause or take.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed

implements: IERC20
implements: IERC20Detailed

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

event Approval:
    owner: indexed(address)
    spender: indexed(address)
    value: uint256

DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
PERMIT_TYPE: constant(bytes32) = keccak256(
    "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
# Half of the curve's order: a signature with a greater s has a twin with a smaller one (EIP-2).
MOST_S: constant(uint256) = 57896044618658097711785492504343953926418782139537452191302581570759080747168

name: public(immutable(String[32]))
symbol: public(immutable(String[8]))
decimals: public(constant(uint8)) = 18
totalSupply: public(uint256)
balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])
nonces: public(HashMap[address, uint256])


@deploy
def __init__(name_: String[32], symbol_: String[8], supply: uint256, holder: address):
    """
    @param supply in units of 10^-18
    @param holder who has all of it at first
    """
    assert holder != empty(address), "no_holder"
    name = name_
    symbol = symbol_
    self.totalSupply = supply
    self.balanceOf[holder] = supply
    log Transfer(sender=empty(address), receiver=holder, value=supply)


@internal
def _move(sender: address, receiver: address, amount: uint256):
    assert receiver != empty(address), "no_receiver"
    assert self.balanceOf[sender] >= amount, "balance_too_small"
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
    log Transfer(sender=sender, receiver=receiver, value=amount)


@internal
def _approve(owner: address, spender: address, amount: uint256):
    self.allowance[owner][spender] = amount
    log Approval(owner=owner, spender=spender, value=amount)


@external
def transfer(receiver: address, amount: uint256) -> bool:
    self._move(msg.sender, receiver, amount)
    return True


@external
def transferFrom(sender: address, receiver: address, amount: uint256) -> bool:
    allowed: uint256 = self.allowance[sender][msg.sender]
    assert allowed >= amount, "allowance_too_small"
    # The greatest number is an allowance without end, as wallets expect it.
    if allowed != max_value(uint256):
        self.allowance[sender][msg.sender] = allowed - amount
    self._move(sender, receiver, amount)
    return True


@external
def approve(spender: address, amount: uint256) -> bool:
    self._approve(msg.sender, spender, amount)
    return True


@external
def burn(amount: uint256):
    """
    @notice Destroys the caller's own tokens.
    """
    assert self.balanceOf[msg.sender] >= amount, "balance_too_small"
    self.balanceOf[msg.sender] -= amount
    self.totalSupply -= amount
    log Transfer(sender=msg.sender, receiver=empty(address), value=amount)


@internal
@view
def _domain() -> bytes32:
    # Made anew each time: after a fork of the chain a signature counts on one side only.
    return keccak256(
        abi_encode(DOMAIN_TYPE, keccak256(name), keccak256("1"), chain.id, self)
    )


@external
@view
def DOMAIN_SEPARATOR() -> bytes32:
    return self._domain()


@external
def permit(owner: address, spender: address, amount: uint256, deadline: uint256, v: uint8, r: bytes32, s: bytes32):
    """
    @notice Sets an allowance by the owner's signature instead of a transaction of its own.
    """
    assert block.timestamp <= deadline, "permit_expired"
    assert owner != empty(address) and convert(s, uint256) <= MOST_S, "permit_forged"
    nonce: uint256 = self.nonces[owner]
    self.nonces[owner] = nonce + 1
    message: bytes32 = keccak256(abi_encode(PERMIT_TYPE, owner, spender, amount, nonce, deadline))
    signed: bytes32 = keccak256(concat(b"\x19\x01", self._domain(), message))
    assert ecrecover(signed, v, r, s) == owner, "permit_forged"
    self._approve(owner, spender, amount)
