"""What is committed as ABI and bytecode is what the sources compile to."""

import json
import subprocess
import sys

import pytest

from contracts import build
from tests.contracts.house import ROOT, compiled


@pytest.mark.parametrize("name", build.CONTRACTS)
def test_nobody_changed_a_source_without_building(name):
    assert compiled(name)["sources"] == build.sources_hash(build.HERE / f"{name}.vy")
    assert compiled(name)["runtime_bytes"] <= build.MAX_RUNTIME_BYTES


@pytest.mark.timeout(600)
def test_the_sources_compile_to_what_is_committed():
    command = [sys.executable, str(ROOT / "contracts" / "build.py"), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_contract_has_an_owner_or_a_way_to_change_its_rules():
    for name in build.CONTRACTS:
        entries = [entry for entry in compiled(name)["abi"] if entry["type"] == "function"]
        for entry in entries:
            said = entry["name"].lower()
            assert not said.startswith(("set_rule", "upgrade", "pause", "transfer_ownership", "renounce")), said
            assert entry["stateMutability"] != "payable" or (name in ("Sales", "Passes") and "buy" in said)
        assert json.dumps(entries)
