"""What the element asked for before Python was up (static/digm-head-start.js), awaited from here."""

from typing import Any

from web import browser


class HeadStartFailed(Exception):
    """Something that the element asked for did not come; of the first track it tells the listener itself.

    Attributes:
        code: as the element names it (static/digm-head-start.js).
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


async def begun(promise: Any) -> Any:
    """Await something that was begun before Python was up."""
    try:
        return await promise
    except browser.BrowserError as fault:
        raise HeadStartFailed(str(getattr(fault, "code", ""))) from fault
