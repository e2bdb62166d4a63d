"""Words and geometry for the chain on the operator's page; what is drawn is `hub.overview.chain`'s.

Each node is a line, each round of audits a note on it: full where the node proved its copies, hollow where it
stayed silent, crossed where it was slashed.
"""

from typing import Any

from digm.chain_story import Mark, amount, day
from hub.overview.chain import SHOWN_ROUNDS, ChainView, EventRow, NodeRow, OrderRow, OrderState

MOST_ROWS = 60
MOST_DRAWN_EVENTS = 40
MOST_PIPS = 12
PITCH, HEIGHT = 20, 24
ADDRESSES = ("registry", "pinning", "sales", "passes", "para")
TROUBLES = {
    "chain_unreachable": "no server answers",
    "devnet_missing": "no server answers",
    "wrong_chain": "the server is of another chain",
    "chain_behind": "the server is behind",
    "chain_moved": "the chain is being reorganised",
    "rpc_lies": "the server answers what cannot be",
    "not_deployed": "the contracts are not where they should be",
}
ORDER_STATES = {
    OrderState.OPEN: "looks for nodes",
    OrderState.FULL: "every place is taken",
    OrderState.CANCELLED: "cancelled",
    OrderState.OVER: "over",
    OrderState.CLOSED: "closed",
}


def drawn_chain(view: ChainView) -> dict[str, Any]:
    """Everything that the template needs."""
    rounds = range(max(1, view.round - SHOWN_ROUNDS + 1), view.round + 1)
    return {
        "is_known": view.chain_id is not None,
        "is_current": view.is_current,
        "trouble": TROUBLES.get(view.trouble, view.trouble) if not view.is_current else "",
        "summary": chain_summary(view),
        "facts": _facts(view),
        "rounds": rounds,
        "nodes": [_staff(row, rounds, view) for row in view.nodes[:MOST_ROWS]],
        "more_nodes": max(0, len(view.nodes) - MOST_ROWS),
        "orders": [_order(row) for row in view.orders[:MOST_ROWS]],
        "more_orders": max(0, len(view.orders) - MOST_ROWS),
        "events": [_event(row) for row in view.events[:MOST_DRAWN_EVENTS]],
        "width": max(1, len(rounds)) * PITCH,
        "height": HEIGHT,
        "middle": HEIGHT / 2,
    }


def chain_summary(view: ChainView) -> str:
    """The state of the contracts in a few words; it changes only when something of weight does."""
    running = [
        row for row in view.orders if row.state in (OrderState.OPEN, OrderState.FULL, OrderState.CANCELLED)
    ]
    missing = sum(max(0, row.wanted - row.held) for row in running if row.state is OrderState.OPEN)
    jailed = [row.name for row in view.nodes if row.jailed_until is not None]
    words = [f"{_count(view.running, 'order')}, {_count(len(view.nodes), 'node')} with a stake."]
    if missing:
        words.append(f"{_count(missing, 'place')} to be taken.")
    elif running:
        words.append("Every place is taken.")
    if jailed:
        names = ", ".join(jailed[:3]) + (f" and {len(jailed) - 3} more" if len(jailed) > 3 else "")
        words.append(f"{names} {'is' if len(jailed) == 1 else 'are'} in jail.")
    return " ".join(words)


def standing_words(row: NodeRow) -> str:
    """How a node stands with the contract."""
    if row.jailed_until is not None:
        return f"in jail, until {day(row.jailed_until)} at least"
    if row.misses_in_a_row:
        return f"missed {_count(row.misses_in_a_row, 'round')}{' in a row' if row.misses_in_a_row > 1 else ''}"
    if not row.copies:
        return "keeps nothing"
    return f"proved round {row.last_proof}" if row.last_proof else "not asked yet"


def stake_words(row: NodeRow) -> str:
    """Its stake, and what it lost of it."""
    token = row.token.upper() if len(row.token) <= 8 else "tokens"
    lost = f", lost {amount(int(row.slashed))}" if row.times_slashed else ""
    return f"{amount(int(row.stake))} {token}{lost}"


def _facts(view: ChainView) -> list[tuple[str, str, str]]:
    """Name, text, and the whole of it where the text is short for it."""
    place = f"{view.chain_id} at {', '.join(view.servers)}" if view.servers else str(view.chain_id)
    behind = view.head - view.counted
    block = f"{view.head:,}" + (f", counted up to {view.counted:,}" if behind > 0 else "")
    facts = [("Chain", place, ""), ("Block", block, "")]
    if view.round:
        facts.append(("Round", f"{view.round:,}", ""))
    for part in ADDRESSES:
        address = view.addresses.get(part, "")
        if address:
            facts.append((part.upper() if part == "para" else part.capitalize(), address, address))
    return facts


def _staff(row: NodeRow, rounds: range, view: ChainView) -> dict[str, Any]:
    notes = [
        {"x": place * PITCH + PITCH / 2, "mark": row.rounds[number], "round": number}
        for place, number in enumerate(rounds)
        if number in row.rounds
    ]
    counts = {mark: sum(note["mark"] == mark for note in notes) for mark in Mark}
    told = ", ".join(f"{count} {mark}" for mark, count in counts.items() if count)
    limit = f" of {view.points_limit}" if view.points_limit else ""
    return {
        "key": row.account,
        "name": row.name,
        "peer_id": row.peer_id,
        "account": row.account,
        "kind": "COLD L3 node" if row.node_class == "cold" else "Eldernode",
        "notes": notes,
        "words": f"{row.name}: {told or 'no rounds yet'}",
        "stake": stake_words(row),
        "standing": standing_words(row),
        "points": f"{row.points}{limit} points" if row.points else "",
        "copies": _count(row.copies, "copy", "copies"),
        "is_bad": row.jailed_until is not None or row.misses_in_a_row > 0,
    }


def _order(row: OrderRow) -> dict[str, Any]:
    lacking = max(0, row.wanted - row.held) if row.state is OrderState.OPEN else 0
    return {
        "key": f"order-{row.order_id}",
        "number": row.order_id,
        "title": row.title or (f"Track {row.track_root[:8]}" if row.track_root else "A track"),
        "href": f"/tracks/{row.track_root}" if row.title else "",
        "owner": row.owner,
        "pips": (["held"] * row.held + ["lacking"] * lacking)[:MOST_PIPS],
        "copies": f"{row.held} of {row.wanted}",
        "holders": ", ".join(row.holders),
        "escrow": f"{amount(int(row.escrow))} PARA",
        "paid": f"{amount(int(row.paid))} PARA",
        "ends": day(row.ends_at),
        "state": ORDER_STATES[row.state],
        "is_over": row.state in (OrderState.OVER, OrderState.CLOSED),
    }


def _event(row: EventRow) -> dict[str, Any]:
    words = f"Taken back by the chain: {row.words}" if row.is_undone else row.words
    return {
        "key": f"event-{row.sequence}-{row.event}-{row.words[:40]}",
        "block": f"{row.block:,}",
        "words": words,
        "is_bad": row.is_bad and not row.is_undone,
        "is_undone": row.is_undone,
    }


def _count(number: int, name: str, names: str = "") -> str:
    return f"{number} {name if number == 1 else names or name + 's'}"
