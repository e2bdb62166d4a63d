"""Purchases that somebody signed and others send (EIP-712): what was signed, once, in time, or not at all."""

import eth_abi
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_keys import keys
from eth_utils.crypto import keccak

from tests.contracts.house import DAY_S, PRICE, House, track_named
from tests.contracts.machine import ZERO

BUYER_KEY = keys.PrivateKey(b"\x09" * 32)
BUYER = BUYER_KEY.public_key.to_canonical_address()
LISTENING, WRAPPED = b"k" * 32, b"w" * 81
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
NO_SIGNATURE = (0, bytes(32), bytes(32))
FIELDS = (
    ("title", "string"), ("artist", "string"), ("price", "string"), ("item", "bytes32"), ("token", "address"),
    ("amount", "uint256"), ("buyer", "address"), ("listeningKey", "bytes32"), ("keySuite", "uint8"),
    ("deadline", "uint256"),
)  # fmt: skip
WORDS = {"title": "Gymnopédie No. 1", "artist": "Erik Satie", "price": "2.50 PARA"}


@pytest.fixture
def shop(house):
    """A track for sale in PARA, and a buyer who has PARA and nothing else."""
    house.track = house.publish(track_named("one"))
    house.sales.send(house.artist, "set_offer", house.track, house.para.address, PRICE, False)
    house.para.send(house.stranger, "transfer", BUYER, 10 * PRICE)
    return house


def purchase(house: House, **changed: object) -> dict[str, object]:
    """What is signed, as a wallet shows it."""
    return {
        **WORDS, "item": house.track, "token": house.para.address, "amount": PRICE, "buyer": BUYER,
        "listeningKey": LISTENING, "keySuite": 1, "deadline": house.machine.now + 3_600,
    } | changed  # fmt: skip


def typed(
    house: House, said: dict[str, object], chain_id: int = 31_337, where: bytes = b""
) -> dict[str, object]:
    """As it is given to a wallet."""
    readable = {name: "0x" + one.hex() if isinstance(one, bytes) else one for name, one in said.items()}
    domain = {
        "name": "DIGM Sales", "version": "1", "chainId": chain_id,
        "verifyingContract": "0x" + (where or house.sales.address).hex(),
    }  # fmt: skip
    kinds = [
        ("name", "string"),
        ("version", "string"),
        ("chainId", "uint256"),
        ("verifyingContract", "address"),
    ]
    return {
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for name, kind in kinds],
            "Purchase": [{"name": name, "type": kind} for name, kind in FIELDS],
        },
        "primaryType": "Purchase", "domain": domain, "message": readable,
    }  # fmt: skip


def signature(house: House, said: dict[str, object], **where: object) -> tuple[int, bytes, bytes]:
    signed = Account.sign_message(
        encode_typed_data(full_message=typed(house, said, **where)), BUYER_KEY.to_bytes()
    )
    return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


def struct(said: dict[str, object]) -> tuple[object, ...]:
    """As the contract is given it: the words as their hashes."""
    return tuple(keccak(text=str(said[name])) if kind == "string" else said[name] for name, kind in FIELDS)


def permit(house: House, deadline: int, amount: int = PRICE, nonce: int = 0) -> tuple[int, bytes, bytes]:
    kind = keccak(text="Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)")
    fields = (kind, BUYER, house.sales.address, amount, nonce, deadline)
    message = keccak(eth_abi.encode(["bytes32", "address", "address", "uint256", "uint256", "uint256"], fields))
    signed = BUYER_KEY.sign_msg_hash(keccak(b"\x19\x01" + house.para.ask("DOMAIN_SEPARATOR") + message))
    return signed.v + 27, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


def send(house: House, said: dict[str, object], signed=None, permitted: bool = True, value: int = 0):
    until = house.machine.now + 3_600 if permitted else 0
    allowed = permit(house, until) if permitted else NO_SIGNATURE
    signed = signature(house, said) if signed is None else signed
    return house.sales.send(house.stranger, "buy_signed", struct(said), signed, allowed, until, value=value)


def test_somebody_without_coins_buys_with_two_signatures_that_anybody_sends(shop):
    (bought,) = send(shop, purchase(shop))
    assert bought.name == "Purchased"
    assert (bought.fields["buyer"], bought.fields["buyer_key"]) == (BUYER, LISTENING)
    assert shop.para.ask("balanceOf", BUYER) == 9 * PRICE
    assert shop.para.ask("allowance", BUYER, shop.sales.address) == 0
    shop.sales.send(shop.artist, "deliver", shop.track, BUYER, WRAPPED)
    assert shop.sales.ask("credits", shop.para.address, shop.artist) == PRICE


def test_who_has_the_coin_may_pay_it_for_who_signed_and_what_is_given_back_is_the_signers(shop, refused):
    shop.sales.send(shop.artist, "set_offer", shop.track, ZERO, PRICE, False)
    said = purchase(shop, token=ZERO, keySuite=2)
    with refused("wrong_value"):
        send(shop, said, permitted=False)
    (bought,) = send(shop, said, permitted=False, value=PRICE)
    assert bought.name == "PurchasedP256"
    shop.machine.mine(1, DAY_S)
    shop.sales.send(shop.stranger, "refund", shop.track, BUYER)
    assert shop.sales.ask("credits", ZERO, BUYER) == PRICE


CHANGES = {
    "title": "Another title", "artist": "Somebody", "price": "0.01 PARA", "item": b"?" * 32, "token": ZERO,
    "amount": PRICE + 1, "buyer": b"\x01" * 20, "listeningKey": b"!" * 32, "keySuite": 2, "deadline": 1,
}  # fmt: skip


@pytest.mark.parametrize("field", [name for name, _ in FIELDS])
def test_whatever_is_changed_behind_the_signature_is_refused(shop, refused, field):
    said = purchase(shop)
    value = said["deadline"] + 1 if field == "deadline" else CHANGES[field]
    with refused("signature_forged"):
        send(shop, said | {field: value}, signature(shop, said))
    assert shop.sales.ask("purchase", shop.track, BUYER)["amount"] == 0


def test_a_signature_for_another_chain_or_contract_or_in_another_form_is_refused(shop, refused):
    said = purchase(shop)
    for where in ({"chain_id": 1}, {"where": shop.passes.address}):
        with refused("signature_forged"):
            send(shop, said, signature(shop, said, **where))
    v, r, s = signature(shop, said)
    twin = (55 - v, r, (CURVE_ORDER - int.from_bytes(s, "big")).to_bytes(32, "big"))
    for wrong in (twin, NO_SIGNATURE, (v, s, r)):
        with refused("signature_forged"):
            send(shop, said, wrong)
    with refused("signature_forged"):  # what cannot be recovered is nobody's, also not the zero address's
        send(shop, said | {"buyer": ZERO}, NO_SIGNATURE)


def test_a_signature_buys_once_whatever_becomes_of_the_purchase(shop, refused):
    said = purchase(shop, deadline=shop.machine.now + DAY_S)
    signed = signature(shop, said)
    send(shop, said, signed)
    with refused("bought_already"):
        send(shop, said, signed, permitted=False)
    shop.machine.mine(1, DAY_S - 3)
    deliver_before = shop.sales.ask("purchase", shop.track, BUYER)["deliver_before"]
    assert deliver_before >= said["deadline"]
    shop.machine.mine(1, 3)
    shop.sales.send(shop.stranger, "refund", shop.track, BUYER)
    with refused("signature_expired"):  # there is room again, and the signature is over
        send(shop, said, signed, permitted=False)


def test_deadlines_that_are_over_or_too_far_away_are_refused(shop, refused):
    now = shop.machine.now
    for deadline, reason in (
        (0, "signature_expired"), (now, "signature_expired"), (now + DAY_S + 60, "bad_deadline"),
        (2**256 - 1, "bad_deadline"),
    ):  # fmt: skip
        with refused(reason):
            send(shop, purchase(shop, deadline=deadline))
    with refused("bad_purchase"):
        send(shop, purchase(shop, keySuite=3))


def test_a_permit_that_somebody_else_sent_first_does_no_harm_and_without_one_nothing_is_taken(shop, refused):
    said = purchase(shop)
    with refused("allowance_too_small"):
        send(shop, said, permitted=False)
    until = shop.machine.now + 3_600
    v, r, s = permit(shop, until)
    shop.para.send(shop.nodes[0], "permit", BUYER, shop.sales.address, PRICE, until, v, r, s)
    shop.sales.send(shop.stranger, "buy_signed", struct(said), signature(shop, said), (v, r, s), until)
    assert shop.sales.ask("purchase", shop.track, BUYER)["amount"] == PRICE


def test_a_price_that_changed_or_a_track_that_is_gone_is_not_bought_by_an_old_signature(shop, refused):
    said = purchase(shop)
    snapshot = shop.machine.snapshot()
    shop.sales.send(shop.artist, "set_offer", shop.track, shop.para.address, 2 * PRICE, False)
    with refused("offer_changed"):
        send(shop, said)
    shop.machine.revert(snapshot)
    shop.registry.send(shop.artist, "withdraw", shop.track)
    with refused("withdrawn"):
        send(shop, said)
    assert shop.para.ask("balanceOf", BUYER) == 10 * PRICE


def test_the_domain_is_that_of_eip_712(house):
    kind = keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
    fields = (kind, keccak(text="DIGM Sales"), keccak(text="1"), 31337, house.sales.address)
    encoded = eth_abi.encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], fields)
    assert house.sales.ask("DOMAIN_SEPARATOR") == keccak(encoded)
