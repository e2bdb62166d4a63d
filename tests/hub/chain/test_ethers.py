"""Pages on ethers, and wallets in them, find on the devnet what they find on any chain."""

import json
import shutil
import subprocess
from pathlib import Path

from tests.hub.chain.devnet import DevnetProcess
from tests.needs import lacking

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
ABI = ROOT / "hub" / "chain" / "abi"
WITHIN_S = 120


def test_ethers_deploys_calls_hears_events_and_reasons_and_a_wallet_in_the_page_signs(
    devnet: DevnetProcess,
) -> None:
    if not (ROOT / "node_modules" / "ethers").is_dir():
        lacking("ethers is not installed: npm ci")
    node = shutil.which("node")
    assert node, "Node.js is needed: make test installs it"
    command = [node, str(HERE / "ethers.mjs"), devnet.url, str(ABI)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    stranger = seen.pop("stranger")
    assert stranger is not None
    assert seen == {
        "chain": 31_337,
        "status": 1,
        "events": ["Transfer"],
        "balance": 12,
        "found": [5, 7],
        "subscribed": [True, 3],
        "block": [1, True, True],
        "fees": True,
        "refused": {"code": "CALL_EXCEPTION", "reason": "balance_too_small"},
        "refusedCall": {"code": "CALL_EXCEPTION", "reason": "balance_too_small"},
        "firstAccount": True,
        "text": True,
        "allowance": 9,
        "permitTwice": {"code": "CALL_EXCEPTION", "reason": "permit_forged"},
        "sent": 1,
        "asked": ["eth_requestAccounts", "eth_sendTransaction", "eth_signTypedData_v4", "personal_sign"],
    }
