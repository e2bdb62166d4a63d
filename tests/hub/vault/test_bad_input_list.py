"""Every line of the list of bad input in docs/paid-listening.md names tests that are there."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]


def test_every_test_that_the_list_of_bad_input_names_is_there() -> None:
    text = (TESTS.parent / "docs" / "paid-listening.md").read_text(encoding="utf-8")
    section = text.partition("\n## Bad input\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)[2:]
    assert len(rows) >= 12
    for what, _, tests in rows:
        named = re.findall(r"`([\w/]+\.py)(?:: (\w+))?`", tests)
        assert named, f"no test for: {what}"
        for file, name in named:
            source = (TESTS / file).read_text(encoding="utf-8")
            assert not name or re.search(rf"^(async )?def {name}\b", source, re.MULTILINE), f"{file}: {name}"
