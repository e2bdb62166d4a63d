"""Amounts of tokens, as people write them and as contracts count them: 1 token is 10^18 units."""

import re

from digm.errors import CallerFault

DECIMALS = 18
UNIT: int = 10**DECIMALS
_FORM = re.compile(rf"(\d{{1,30}})(?:\.(\d{{1,{DECIMALS}}}))?", re.ASCII)


def read_amount(text: str) -> int:
    """Units of an amount in whole tokens, exactly. Raises CallerFault `bad_amount`."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise CallerFault(
            "bad_amount", f"{text!r:.80} is no amount: write 1000 or 0.5, with at most 18 decimals."
        )
    whole, part = str(form[1]), str(form[2] or "")
    return int(whole) * UNIT + int(part.ljust(DECIMALS, "0"))


def say_amount(units: int) -> str:
    """An amount for people, exactly."""
    whole, part = divmod(units, UNIT)
    return f"{whole}.{part:0{DECIMALS}}".rstrip("0").rstrip(".")
