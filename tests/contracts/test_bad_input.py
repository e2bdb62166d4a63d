"""What callers get wrong, function by function, is refused with a named reason; docs/contracts.md lists it."""

import re
from itertools import product
from typing import Any

import pytest

from tests.contracts.house import ELDER_MINIMUM, MISSES_IN_A_ROW, ROOT, UNIT, House, compiled, track_named
from tests.contracts.machine import ZERO, Contract, Reverted
from tests.contracts.test_token import OWNER, signed

HUGE = 2**256 - 1
NUMBERS = (0, 1, 2**128, HUGE)
MOST_TRIES = 500  # of each caller; where there are more, one is enough
REASON = re.compile(r"[a-z]+(_[a-z]+)*")


@pytest.fixture
def busy(house: House) -> House:
    """Something of everything: a track, an order that is running, a node that holds it, one that leaves."""
    house.track = house.publish(track_named("one"))
    house.order_id = house.order(house.track, replicas=2, duration_s=50_000)
    for node in house.nodes[:2]:
        house.join(node)
    house.accept(house.nodes[0], house.order_id)
    house.pinning.send(house.nodes[1], "request_unstake", ELDER_MINIMUM)
    return house


def values_of(house: House, entry: dict[str, Any]) -> tuple[Any, ...]:
    """What to try for an argument: what is there, nothing, and numbers at their edges."""
    match entry["type"], entry["name"]:
        case "uint256", "order_id":
            return (house.order_id, 0, HUGE)
        case "uint256[]", _:
            return ([], [0], [house.order_id, house.order_id], [HUGE] * 3)
        case "uint256", _:
            return NUMBERS
        case "uint8", _:
            return (0, 255)
        case "bool", _:
            return (True, False)
        case "address", "token":
            return (house.digm.address, house.para.address, ZERO, house.stranger)
        case "address", _:
            return (house.nodes[0], house.nodes[1], ZERO, b"\xff" * 20)
        case "bytes32", "track" | "item":
            return (house.track, bytes(32), b"\xff" * 32)
        case "bytes32", _:
            return (bytes(32), b"\xff" * 32)
        case "bytes32[]", "tracks":
            return ([], [house.track], [house.track, house.track], [bytes(32)] * 64)
        case "bytes32[]", _:
            return ([], [bytes(32)] * 20)
        case "bytes", _:
            return (b"", bytes(64))
        case "tuple[]", "payees":
            return (
                [],
                [(house.stranger, HUGE)],
                [(ZERO, 10_000)],
                [(house.stranger, HUGE), (house.artist, 10_001)],
                [(house.stranger, 10_000)],
            )
        case "tuple", "said":
            words = (b"\xff" * 32,) * 3
            until = house.machine.now + 600
            key = b"k" * 32
            return (
                (*words, house.track, ZERO, 0, ZERO, bytes(32), 0, 0),
                (*words, house.track, house.para.address, 1, ZERO, key, 1, until),
                (*words, bytes(32), house.stranger, HUGE, house.stranger, key, 2, until),
                (*words, house.track, ZERO, 1, house.artist, key, 255, until),
                (*words, house.track, ZERO, 1, house.artist, key, 1, HUGE),
            )
        case "tuple", _:
            return (
                (0, bytes(32), bytes(32)),
                (27, b"\x11" * 32, b"\x11" * 32),
                (255, b"\xff" * 32, b"\xff" * 32),
            )
        case "tuple[]", "renditions":
            return ([], [(0, 0, 0)], [(HUGE, HUGE, HUGE)], [(1, 1, HUGE)], [(2**255, 2, 1)])
    raise AssertionError(f"what to try for {entry}?")


def functions() -> list[Any]:
    """Every function that changes something, of every contract."""
    found = []
    for contract, name in (
        ("registry", "TrackRegistry"),
        ("pinning", "Pinning"),
        ("para", "Token"),
        ("sales", "Sales"),
        ("passes", "Passes"),
    ):
        for entry in compiled(name)["abi"]:
            if entry["type"] == "function" and entry["stateMutability"] not in ("view", "pure"):
                found.append(pytest.param(contract, entry, id=f"{name}.{entry['name']}"))
    return found


@pytest.mark.parametrize(("contract", "entry"), functions())
def test_zero_and_huge_numbers_in_every_place_are_taken_or_refused_with_a_reason(
    busy: House, contract: str, entry: dict[str, Any]
) -> None:
    called: Contract = getattr(busy, contract)
    tries = [*product(*(values_of(busy, one) for one in entry["inputs"]))]
    callers = (busy.artist, busy.stranger, *busy.nodes[:2])
    unnamed = []
    for caller in callers if len(tries) < MOST_TRIES else callers[:1]:
        for arguments in tries:
            try:
                called.ask(entry["name"], *arguments, sender=caller)
            except Reverted as refusal:
                if not REASON.fullmatch(refusal.reason):
                    unnamed.append((refusal.reason, arguments))
    assert unnamed == []


# -- somebody saw it in the mempool, and was first


def test_a_permit_that_somebody_else_sends_first_has_done_what_its_owner_wanted(house, refused):
    permit = signed(house, 77, house.machine.now + 100)
    house.para.send(house.nodes[0], "permit", *permit)
    with refused("permit_forged"):  # its number is used
        house.para.send(house.stranger, "permit", *permit)
    assert house.para.ask("allowance", OWNER, house.stranger) == 77


def test_who_slashes_second_gets_nothing_and_the_node_is_cut_once(house, refused):
    track = house.publish(track_named("one"))
    order, bad = house.order(track, replicas=1, duration_s=50_000), house.nodes[0]
    house.join(bad)
    house.accept(bad, order)
    house.rounds(MISSES_IN_A_ROW, [])
    house.pinning.send(house.stranger, "slash", bad)
    stake, bounty = (
        house.pinning.ask("node", bad)["stake"],
        house.pinning.ask("credits", house.digm.address, house.stranger),
    )
    assert stake < 2 * ELDER_MINIMUM and bounty > 0
    with refused("not_slashable"):
        house.pinning.send(house.artist, "slash", bad)
    assert house.pinning.ask("node", bad)["stake"] == stake
    assert house.pinning.ask("credits", house.digm.address, house.artist) == 0


def test_a_copied_naming_of_a_key_leaves_the_artists_own_as_it_is(house):
    key, signature = b"k" * 32, b"s" * 64  # over the artist's address: readers find it wrong for anybody else's
    house.registry.send(house.stranger, "bind_key", key, signature)
    house.registry.send(house.artist, "bind_key", key, signature)
    assert house.registry.ask("artist_key", house.artist) == key


def test_an_order_costs_what_its_sender_said_whatever_was_ordered_before_it(house):
    track = house.publish(track_named("one"))
    price = house.para.ask("balanceOf", house.artist)
    house.order(track, replicas=1, duration_s=2000)
    price -= house.para.ask("balanceOf", house.artist)
    house.pinning.send(house.stranger, "place_order", track, 1, 2000, 9 * UNIT)
    before = house.para.ask("balanceOf", house.artist)
    house.order(track, replicas=1, duration_s=2000)
    assert before - house.para.ask("balanceOf", house.artist) == price


# -- the list in the documents


def test_every_test_that_the_list_of_bad_input_names_is_there():
    text = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")
    section = text.partition("### Bad input")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)[1:]
    assert len(rows) >= 12
    for what, _, tests in rows[1:]:
        named = re.findall(r"`([\w/]+\.py)(?:: (\w+))?`", tests)
        assert named, f"no test for: {what}"
        for file, name in named:
            source = (ROOT / "tests" / file).read_text(encoding="utf-8")
            assert not name or re.search(rf"^(async )?def {name}\b", source, re.MULTILINE), f"{file}: {name}"
