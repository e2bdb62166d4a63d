"""What a page signs and encodes by itself is what ethers, another implementation, makes of the same."""

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def test_addresses_transactions_calls_messages_and_typed_data_are_those_of_ethers() -> None:
    node = shutil.which("node")
    assert node, "Node is needed"
    done = subprocess.run([node, str(HERE / "eth.mjs")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == 61
