"""The devnet's accounts: those of Anvil and Hardhat, which every tool knows. Worth nothing anywhere."""

from functools import cache

from eth_account import Account
from eth_account.hdaccount import seed_from_mnemonic
from eth_account.hdaccount.deterministic import HDPath
from eth_account.signers.local import LocalAccount

MNEMONIC = "test test test test test test test test test test test junk"
COUNT = 10
BALANCE_WEI = 10_000 * 10**18


@cache
def demo_accounts() -> tuple[LocalAccount, ...]:
    """Ten accounts with their keys, which anybody knows (BIP 39, BIP 44)."""
    seed = seed_from_mnemonic(MNEMONIC, "")
    return tuple(Account.from_key(HDPath(f"m/44'/60'/0'/0/{n}").derive(seed)) for n in range(COUNT))
