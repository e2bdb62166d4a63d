"""Whose account it is, and how it stands: a node and an account have to name each other."""

from dataclasses import replace

from digm.announcements import Announcement
from digm.chain_pins import ChainPins, NodeOnChain, RoundOnChain
from digm.chain_standing import ChainStanding, NodeClass
from hub.chain.standings import standing_of_announced
from hub.chain.state import ChainState

KEY, ACCOUNT, TOKEN = b"k" * 32, "0x" + "Ab" * 20, "0x" + "cd" * 20
RULES = {"miss_points": 200, "epoch_blocks": 30, "start_block": 10}


def state(**changes: object) -> ChainState:
    node = NodeOnChain(
        ACCOUNT, 2, TOKEN, 800, KEY, leaving=50, last_round=1, points=7, slashed=1, slashed_amount=200, copies=1
    )
    rounds = [RoundOnChain(1, 1, b"", ""), RoundOnChain(2, 2, b"", "")]
    pins = ChainPins(nodes={ACCOUNT: replace(node, **changes)})  # type: ignore[arg-type]
    pins.rounds.extend(rounds)
    return ChainState(pins=pins, rules=RULES, counted=10 + 2 * 30, head=100)


def said(account: str | None, key: bytes = KEY) -> Announcement:
    return Announcement(key, bytes(16), bytes(32), bytes(32), {}, "Adagio", "AS1", 1, 0, 60, account=account)


def test_only_who_name_each_other_are_one() -> None:
    assert standing_of_announced(state(), said(ACCOUNT)) == ChainStanding(
        ACCOUNT, NodeClass.COLD, TOKEN, stake=850, misses_in_a_row=1, points=207, slashed=200
    )
    assert standing_of_announced(state(), said(None)) is None
    assert standing_of_announced(state(), said("0x" + "99" * 20)) is None
    assert standing_of_announced(state(), said(ACCOUNT, b"o" * 32)) is None
    assert standing_of_announced(state(node_key=bytes(32)), said(ACCOUNT, bytes(32))) is None


def test_a_round_is_missed_when_the_block_up_to_which_events_count_is_behind_it() -> None:
    still_open = replace(state(), counted=10 + 2 * 30 - 1)
    standing = standing_of_announced(still_open, said(ACCOUNT))
    assert standing is not None and (still_open.epoch, standing.misses_in_a_row, standing.points) == (2, 0, 7)
    assert replace(still_open, rules={}).epoch is None


def test_who_is_in_jail_is_there_until_it_asks_to_be_let_out() -> None:
    standing = standing_of_announced(state(jailed_until=1), said(ACCOUNT))
    assert standing is not None and standing.is_jailed and standing.jailed_until == 1
