"""PARA and its stand-ins: an ERC-20 with permit that nobody owns."""

import eth_abi
from eth_keys import keys
from eth_utils.crypto import keccak

from tests.contracts.house import SUPPLY, compiled
from tests.contracts.machine import ZERO

KEY = keys.PrivateKey(b"\x07" * 32)
OWNER = KEY.public_key.to_canonical_address()
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
PERMIT = keccak(text="Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")


def signed(house, value, deadline, nonce=0, spender=None, token=None):
    """Arguments of a permit."""
    spender = spender or house.stranger
    fields = (PERMIT, OWNER, spender, value, nonce, deadline)
    message = keccak(eth_abi.encode(["bytes32", "address", "address", "uint256", "uint256", "uint256"], fields))
    domain = (token or house.para).ask("DOMAIN_SEPARATOR")
    signature = KEY.sign_msg_hash(keccak(b"\x19\x01" + domain + message))
    r, s = signature.r.to_bytes(32, "big"), signature.s.to_bytes(32, "big")
    return [OWNER, spender, value, deadline, signature.v + 27, r, s]


def test_the_domain_is_that_of_eip_712(house):
    kind = keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    fields = (kind, keccak(text="Para"), keccak(text="1"), 31337, house.para.address)
    encoded = eth_abi.encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], fields)
    assert house.para.ask("DOMAIN_SEPARATOR") == keccak(encoded)


def test_transfers_move_what_is_there_and_no_more(house, refused):
    one, two = house.nodes[:2]
    have = house.para.ask("balanceOf", one)
    (event,) = house.para.send(one, "transfer", two, 5)
    assert event.fields == {"sender": one, "receiver": two, "value": 5}
    assert house.para.ask("balanceOf", one) == have - 5
    with refused("balance_too_small"):
        house.para.send(one, "transfer", two, have)
    with refused("balance_too_small"):
        house.para.send(one, "transfer", two, 2**256 - 1)
    with refused("no_receiver"):
        house.para.send(one, "transfer", ZERO, 1)
    house.para.send(one, "transfer", one, 7)
    assert house.para.ask("balanceOf", one) == have - 5
    assert house.para.ask("totalSupply") == SUPPLY


def test_an_allowance_is_used_up_and_an_endless_one_is_not(house, refused):
    one, two = house.nodes[:2]
    house.para.send(one, "approve", two, 10)
    house.para.send(two, "transferFrom", one, two, 4)
    assert house.para.ask("allowance", one, two) == 6
    with refused("allowance_too_small"):
        house.para.send(two, "transferFrom", one, two, 7)
    house.para.send(one, "approve", two, 2**256 - 1)
    house.para.send(two, "transferFrom", one, two, 4)
    assert house.para.ask("allowance", one, two) == 2**256 - 1


def test_burning_takes_ones_own_tokens_out_of_the_world(house, refused):
    one = house.nodes[0]
    house.para.send(one, "burn", 5)
    assert house.para.ask("totalSupply") == SUPPLY - 5
    with refused("balance_too_small"):
        house.para.send(one, "burn", SUPPLY)


def test_a_permit_sets_an_allowance_once(house, refused):
    deadline = house.machine.now + 100
    permit = signed(house, 77, deadline)
    house.para.send(house.nodes[0], "permit", *permit)
    assert house.para.ask("allowance", OWNER, house.stranger) == 77
    with refused("permit_forged"):
        house.para.send(house.nodes[0], "permit", *permit)


def test_a_permit_that_is_late_forged_or_for_another_token_is_refused(house, refused):
    deadline = house.machine.now + 100
    good = signed(house, 77, deadline)
    send = house.para.send
    with refused("permit_expired"):
        send(house.stranger, "permit", *signed(house, 77, house.machine.now - 1))
    with refused("permit_forged"):
        send(house.stranger, "permit", *signed(house, 77, deadline, nonce=1))
    with refused("permit_forged"):
        send(house.stranger, "permit", *signed(house, 77, deadline, token=house.digm))
    for place, other in ((0, ZERO), (0, house.artist), (1, house.artist), (2, 78), (3, deadline + 1), (4, 29)):
        with refused("permit_forged"):
            send(house.stranger, "permit", *good[:place], other, *good[place + 1 :])
    twin = CURVE_ORDER - int.from_bytes(good[6], "big")
    with refused("permit_forged"):
        send(house.stranger, "permit", *good[:4], 55 - good[4], good[5], twin.to_bytes(32, "big"))
    send(house.stranger, "permit", *good)


def test_nobody_can_make_tokens_or_own_the_contract():
    names = {entry["name"] for entry in compiled("Token")["abi"] if entry["type"] == "function"}
    assert not {name for name in names if "mint" in name or "owner" in name.lower() or "pause" in name}
