"""Writes `sign_in.json`: messages and their signatures, for whoever makes the same bytes elsewhere (the page).

python -m tests.vectors.make_sign_ins
"""

import json
from dataclasses import asdict
from pathlib import Path

from eth_account import Account
from eth_account.messages import encode_defunct

from digm.sign_in import SignIn

SIGN_IN_VECTORS = Path(__file__).parent / "sign_in.json"
# The first of Anvil's and Hardhat's accounts: anybody knows it.
PRIVATE_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
MESSAGES = [
    SignIn(
        "hub.example", ADDRESS, "https://hub.example/track/ab?x=1#y", 1, "Ab3dEf9h",
        1_763_906_400, 1_763_935_200, bytes(range(32)),
    ),
    SignIn(
        "127.0.0.1:8080", ADDRESS, "http://127.0.0.1:8080/", 31_337, "0123456789abcdef" * 4, 1_800_000_000,
        1_800_086_400, b"\xff" * 32,
    ),
]  # fmt: skip


def main() -> None:
    vectors = []
    for message in MESSAGES:
        text = message.encode()
        signature = Account.sign_message(encode_defunct(text=text), PRIVATE_KEY).signature
        fields = {**asdict(message), "player_key": message.player_key.hex()}
        vectors.append(
            {"fields": fields, "message": text, "private_key": PRIVATE_KEY, "signature": signature.hex()}
        )
    SIGN_IN_VECTORS.write_text(json.dumps(vectors, indent=1) + "\n")


if __name__ == "__main__":
    main()
