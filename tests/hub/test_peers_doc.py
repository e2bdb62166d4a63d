"""docs/peers.md says what the code does: every code, every message, every number, the states."""

import dataclasses
import re
from pathlib import Path

import pytest

from digm import signalling
from digm.fetch_plan import Failure, SchedulerSettings
from digm.peer_choice import ChoiceSettings
from digm.peer_exchange import ExchangeSettings
from digm.peer_states import TRANSITIONS, SessionSettings
from digm.rendition_choice import RenditionSettings
from digm.upload_manners import MannersSettings
from digm.wire import Reason, Type
from hub.seeding.settings import SeedLimits
from hub.signalling.settings import SignallingSettings

HOUSE = Path(__file__).parents[2]
PAGE = (HOUSE / "docs" / "peers.md").read_text(encoding="utf-8")
SOURCES = [
    *(
        HOUSE / "digm" / name
        for name in ("wire.py", "bitfield.py", "peer_session.py", "download_list.py", "peer_conduct.py")
    ),
    *(HOUSE / "digm" / name for name in ("signalling.py", "sdp.py")),
    *(HOUSE / "hub" / "signalling").glob("*.py"),
]


def test_every_code_that_a_peer_can_be_told_is_on_the_page() -> None:
    raised = {
        code
        for source in SOURCES
        for code in re.findall(r'PeerFault\(\s*"([a-z_]+)"', source.read_text(encoding="utf-8"))
    }
    assert len(raised) > 20
    assert {code for code in raised if f"`{code}`" not in PAGE} == set()


@pytest.mark.parametrize(
    "numbers",
    [
        SignallingSettings,
        SessionSettings,
        ChoiceSettings,
        ExchangeSettings,
        MannersSettings,
        SchedulerSettings,
        RenditionSettings,
        SeedLimits,
    ],
)
def test_every_number_is_on_the_page_with_its_value(numbers: type) -> None:
    rows = set(re.findall(r"^\| `(\w+)` \| ([\d.,]+) \|", PAGE, re.MULTILINE))
    stated = {(name, float(value.replace(",", ""))) for name, value in rows}
    missing = {(f.name, float(f.default)) for f in dataclasses.fields(numbers)} - stated
    assert missing == set()


def test_every_message_and_reason_is_on_the_page() -> None:
    for name, _ in signalling.SCHEMA.values():
        assert f'"{name}"' in PAGE
    for kind in Type:
        assert re.search(rf"\b{kind.value} {kind.name}\b", PAGE)
    for reason in Reason:
        assert f"{reason.value} {reason.name.lower().replace('_', ' ')}" in PAGE.replace("\n", " ")
    for failure in Failure:
        assert f"`{failure.value}`" in PAGE


def test_the_diagram_is_the_table_of_transitions() -> None:
    drawn = set(re.findall(r"^ +(\w+) --> (\w+): (\w+)$", PAGE, re.MULTILINE))
    assert drawn == {
        (state.value, following.value, cause)
        for state, ways in TRANSITIONS.items()
        for cause, following in ways.items()
    }
