"""Purchases as a browser keeps them, made without a chain: the vault's key, wrapped to the page's account."""

from typing import Any

from digm.purchases import Suite, purchase_aad
from hub.publishing.vault import Vault
from hub.vault.wrapping import wrap
from tests.browser.player_page import PlayerPage
from tests.browser.stack import Stack

CHAIN_ID = 31_337
SALES = "0x" + "5a" * 20
ITEM = "0x" + "17" * 32

ACCOUNT = """async () => {
  const {create} = await import('/static/digm-account.js');
  const {address, publicKey, suite} = await create();
  return {address, publicKey: [...publicKey], suite};
}"""

KEEP = """async ([track, owned]) => {
  const {keep} = await import('/static/digm-account.js');
  globalThis.keptAt = performance.now();
  await keep(track, {...owned, wrapped: Uint8Array.from(owned.wrapped)});
}"""


def track_key(stack: Stack, track_root: str) -> bytes:
    """The artist's secret."""
    with Vault.open(stack.data / "vault.digm") as vault:
        secret = vault.secret(track_root)
        assert secret is not None
        return secret.track_key


async def account(page: PlayerPage) -> dict[str, Any]:
    """The page's account, made when there is none: address, publicKey, suite."""
    found: dict[str, Any] = await page.view.evaluate(ACCOUNT)
    return found


def wrapped_for(buyer: dict[str, Any], *keys: bytes, item: str = ITEM) -> dict[str, Any]:
    """What static/digm-account.js keeps of a purchase (`Owned`)."""
    suite, public_key = Suite(buyer["suite"]), bytes(buyer["publicKey"])
    aad = purchase_aad(
        CHAIN_ID, bytes.fromhex(SALES[2:]), bytes.fromhex(item[2:]), bytes.fromhex(buyer["address"][2:])
    )
    wrapped = wrap(keys, public_key if suite is Suite.X25519 else public_key[1:33], suite, aad)
    return {
        "wrapped": list(wrapped.encode()), "place": 0, "chainId": CHAIN_ID, "sales": SALES, "item": item,
        "buyer": buyer["address"],
    }  # fmt: skip


async def keep(page: PlayerPage, track_root: str, owned: dict[str, Any]) -> None:
    """As the purchase dialog does when a key came."""
    await page.view.evaluate(KEEP, [track_root, owned])


async def buy(page: PlayerPage, stack: Stack, track_root: str) -> None:
    """The key of a track arrives in this browser."""
    await keep(page, track_root, wrapped_for(await account(page), track_key(stack, track_root)))
