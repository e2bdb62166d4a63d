"""What the chain's libraries do to the process that imports them ends at its other doors."""

import subprocess
import sys

READ_A_BOMB = """
import hub.chain
from eth_account import Account
import msgspec
from digm.errors import PeerFault
from digm.manifest import parse_manifest

bomb = b'{"digm":' + b"[" * 1_000_000
for read in (parse_manifest, msgspec.json.decode):
    try:
        read(bomb)
    except (PeerFault, msgspec.DecodeError, RecursionError):
        print("refused")
"""


def test_with_the_libraries_of_the_chain_a_deeply_nested_document_is_still_refused() -> None:
    done = subprocess.run([sys.executable, "-c", READ_A_BOMB], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "refused\n" * 2), done.stderr[-500:]
