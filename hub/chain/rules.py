"""The rules and tokens with which the contracts are deployed. What each rule is for is in docs/contracts.md."""

import json
from pathlib import Path

from digm.errors import CallerFault

UNIT = 10**18
SUPPLY = 1_000_000_000 * UNIT
TOKENS = {
    "para": ("PARA", "PARA"),
    "digm": ("DIGM (stand-in)", "DIGM"),
    "xfg": ("Fuego (stand-in)", "XFG"),
    "heat": ("Heat (stand-in)", "HEAT"),
}
STAKE_TERMS = {
    part: {"elder_minimum": 1_000 * UNIT, "cold_minimum": 250 * UNIT, "per_gib": 10 * UNIT}
    for part in ("digm", "xfg", "heat")
}
WEEK_S = 7 * 86_400
DELIVER_WITHIN_S = {31_337: 7_200}
"""By chain id, how long a vault may be away before buyers get their money back; else `WEEK_S`."""
_FILE = Path(__file__).with_name("abi") / "rules.json"


def load_rules(name: str) -> dict[str, int]:
    """What `Pinning` is deployed with: `devnet`, `l2` or `l1`. Raises CallerFault `bad_option`."""
    known: dict[str, dict[str, int]] = json.loads(_FILE.read_text())
    if name not in known:
        raise CallerFault("bad_option", f"{name!r:.80} are no rules: there are {', '.join(known)}.")
    return known[name]
