"""`digm premium`: who may hear whole tracks without buying them."""

from typing import TYPE_CHECKING, Annotated

import typer

from digm.errors import CallerFault

if TYPE_CHECKING:
    from hub.config import Settings
    from hub.vault.premium import Hold, Pass


def premium(
    hold: Annotated[str, typer.Option(help="Accounts that hold so much of --token, such as 100.")] = "",
    paid_in: Annotated[
        str,
        typer.Option(
            "--token", help="Of what: coin, para, digm, xfg, heat; or an ERC-20 by its address (18 decimals)."
        ),
    ] = "para",
    has_pass: Annotated[bool, typer.Option("--pass", help="Accounts that have a pass.")] = False,
    issuer: Annotated[
        str, typer.Option(help="Whose pass: an address; unset: that of the account in this data folder.")
    ] = "",
    is_off: Annotated[bool, typer.Option("--off", help="Nobody hears more than everybody.")] = False,
) -> None:
    """Show, or say, who hears whole tracks of yours for as long as they hold a token or a pass."""
    from hub.config import load_settings
    from hub.vault.premium import Hold, Pass, Policy, load_policy, save_policy

    settings = load_settings()
    if is_off and (hold or has_pass):
        raise CallerFault("bad_option", "--off goes with nothing else.")
    if is_off or hold or has_pass:
        rules: tuple[Hold | Pass, ...] = (
            *([_hold(settings, hold, paid_in)] if hold else []),
            *([_pass(settings, issuer)] if has_pass else []),
        )
        save_policy(settings.data, Policy(rules))
    said = [_said(settings, rule) for rule in load_policy(settings.data).rules]
    print("\n".join(said) or "Nobody hears more than everybody: digm premium --hold 100, or --pass.")


def _hold(settings: "Settings", amount: str, token: str) -> "Hold":
    from hub.chain.amounts import read_amount
    from hub.chain.deployment import deployment_of
    from hub.chain.opening import checked_address
    from hub.chain.shopkeeping import price_of
    from hub.vault.premium import Hold

    if token.startswith("0x"):
        units, where = read_amount(amount), checked_address(token)
    else:
        price = price_of(deployment_of(settings), amount, token)
        units, where = price.amount, price.token
    if not units:
        raise CallerFault("bad_amount", "To hold nothing is no condition: publish without a preview instead.")
    return Hold(where, str(units))


def _pass(settings: "Settings", issuer: str) -> "Pass":
    from hub.chain.keystore import FILE_NAME, address_of
    from hub.chain.opening import checked_address, folder_of
    from hub.vault.premium import Pass

    own = address_of(folder_of(settings) / FILE_NAME)
    if not issuer and own is None:
        raise CallerFault(
            "no_key", "There is no account here whose passes they could be: name one with --issuer."
        )
    return Pass(checked_address(issuer) if issuer else str(own))


def _said(settings: "Settings", rule: "Hold | Pass") -> str:
    from digm.errors import DigmError
    from hub.chain.amounts import say_amount
    from hub.chain.deployment import deployment_of
    from hub.chain.shopkeeping import token_name
    from hub.vault.premium import Pass

    if isinstance(rule, Pass):
        return f"Accounts with a pass of {rule.issuer} hear whole tracks."
    try:
        name = token_name(deployment_of(settings), rule.token)
    except DigmError:
        name = rule.token
    return f"Accounts that hold {say_amount(int(rule.amount))} {name} hear whole tracks."
