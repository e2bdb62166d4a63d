# pragma version ==0.4.3
# pragma evm-version cancun
# pragma nonreentrancy off
"""
@title A token that lies in the ways tokens have lied, and calls back while it is called
"""

HONEST: constant(uint256) = 0
KEEPS_A_FEE: constant(uint256) = 1
RETURNS_FALSE: constant(uint256) = 2
MOVES_NOTHING: constant(uint256) = 3
REVERTS: constant(uint256) = 4
CALLS_BACK: constant(uint256) = 5

balanceOf: public(HashMap[address, uint256])
mode: public(uint256)
target: address
message: Bytes[2048]
called_back: public(uint256)
succeeded: public(uint256)


@external
def give(receiver: address, amount: uint256):
    self.balanceOf[receiver] += amount


@external
def behave(mode: uint256, target: address, message: Bytes[2048]):
    self.mode = mode
    self.target = target
    self.message = message
    self.called_back = 0
    self.succeeded = 0


@external
def act(target: address, message: Bytes[2048]):
    """
    @notice Calls something in the token's own name, so that it can be a node, too.
    """
    raw_call(target, message)


@internal
def _move(sender: address, receiver: address, amount: uint256) -> bool:
    if self.mode == REVERTS:
        raise "hostile"
    if self.mode == RETURNS_FALSE:
        return False
    if self.mode == MOVES_NOTHING:
        return True
    if self.mode == CALLS_BACK:
        self.called_back += 1
        if raw_call(self.target, self.message, revert_on_failure=False):
            self.succeeded += 1
    self.balanceOf[sender] -= amount
    if self.mode == KEEPS_A_FEE:
        self.balanceOf[receiver] += amount - amount // 100
    else:
        self.balanceOf[receiver] += amount
    return True


@external
def transfer(receiver: address, amount: uint256) -> bool:
    return self._move(msg.sender, receiver, amount)


@external
def transferFrom(sender: address, receiver: address, amount: uint256) -> bool:
    return self._move(sender, receiver, amount)
