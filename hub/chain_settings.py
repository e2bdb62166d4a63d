"""What an operator may choose about the chain; a part of `hub.config.Settings`, which says how it is read."""

from typing import Annotated

import msgspec
from msgspec import Meta


class ChainSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The chain, its devnet on this machine, and the key that pays."""

    chain_rpc: Annotated[
        tuple[str, ...],
        Meta(description="JSON-RPC URLs of one EVM chain, the preferred first; unset: this machine's devnet."),
    ] = ()
    chain_deployment: Annotated[
        str,
        Meta(
            description="Where DIGM's contracts are: a deployment.json, or what is in it; unset: "
            "DATA/chain/deployment.json, else asked for."
        ),
    ] = ""
    chain_port: Annotated[
        int, Meta(ge=0, le=65_535, description="Port of the devnet's JSON-RPC, on loopback.")
    ] = 8545
    devnet: Annotated[
        bool, Meta(description="Whether `digm up` runs a devnet, where DIGM_CHAIN_RPC is not set.")
    ] = True
    chain_passphrase: Annotated[
        str | None,
        Meta(
            description="Passphrase of the chain's key; unset: that of the file "
            "DATA/secrets/chain-passphrase, else asked for on a terminal."
        ),
    ] = None
    payment_link: Annotated[
        str,
        Meta(
            description="URL where listeners pay for the tracks of this hub by other means; {track}: the "
            "track's root. The page shows the listener's code, for `digm give`."
        ),
    ] = ""
    node_least_price: Annotated[
        str, Meta(description="PARA for a GiB and day of one copy; a node leaves orders that pay less.")
    ] = "0"
    node_claim: Annotated[
        str, Meta(description="So much PARA has to be owed before a node has it paid out; each time costs gas.")
    ] = "1"
    vault_margin_seconds: Annotated[
        int,
        Meta(
            ge=60,
            le=3_000,
            description="No key is sent so long before a buyer may have the money back: who sees it on its way "
            "has it.",
        ),
    ] = 900
    vault_stand_in_seconds: Annotated[
        int,
        Meta(ge=0, description="How long a second vault leaves a purchase to the artist's own."),
    ] = 600
    chain_confirmations: Annotated[
        int, Meta(ge=0, le=1000, description="Blocks that make an event count; 0: 1 on the devnet, else 12.")
    ] = 0
