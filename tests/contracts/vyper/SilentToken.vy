# pragma version ==0.4.3
# pragma evm-version cancun
"""
@title A token whose transfers return nothing, as some of the oldest do
"""

balanceOf: public(HashMap[address, uint256])


@external
def give(receiver: address, amount: uint256):
    self.balanceOf[receiver] += amount


@external
def transfer(receiver: address, amount: uint256):
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[receiver] += amount


@external
def transferFrom(sender: address, receiver: address, amount: uint256):
    self.balanceOf[sender] -= amount
    self.balanceOf[receiver] += amount
