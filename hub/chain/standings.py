"""How nodes of the backbone stand with the contract: where a node and an account name each other."""

from digm.announcements import Announcement
from digm.chain_pins import COLD, NO_KEY, NodeOnChain
from digm.chain_standing import ChainStanding, NodeClass
from hub.chain.state import ChainState

PARTS = ("digm", "xfg", "heat")


def node_of(state: ChainState, node_key: bytes, account: str | None) -> NodeOnChain | None:
    """The node on the chain that a node of the backbone is.

    Args:
        node_key: its Ed25519 key.
        account: the one that it names in its own, signed words; with the checksum (EIP-55), as nodes write it.
    Returns:
        None where they do not name each other: either of them could name anybody.
    """
    known = state.pins.nodes.get(account) if account is not None else None
    return known if known is not None and known.node_key == node_key != NO_KEY else None


def standing_of(state: ChainState, node: NodeOnChain) -> ChainStanding:
    """What the chain says of an account."""
    missed = state.pins.missed(node.address, state.epoch)
    return ChainStanding(
        account=node.address,
        node_class=NodeClass.COLD if node.node_class == COLD else NodeClass.ELDER,
        token=token_of(state, node),
        stake=node.stake + node.leaving,
        misses_in_a_row=missed,
        points=node.points + (node.carried_misses + missed) * state.rules.get("miss_points", 0),
        slashed=node.slashed_amount,
        jailed_until=node.jailed_until or None,
    )


def token_of(state: ChainState, node: NodeOnChain) -> str:
    """The part of the deployment that a stake is in; its address, where it is none of them."""
    addresses = state.deployed.addresses if state.deployed is not None else {}
    return next((part for part in PARTS if addresses.get(part) == node.token), node.token)


def standing_of_announced(state: ChainState, said: Announcement) -> ChainStanding | None:
    """What the chain says of a node that announced itself; None where they do not name each other."""
    node = node_of(state, said.node, said.account)
    return standing_of(state, node) if node is not None else None
