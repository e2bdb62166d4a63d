"""A small contract for tests, assembled by hand: it adds numbers up to 100, and says so."""

from eth_utils.crypto import keccak

from hub.chain.contract import Contract

ABI = [
    {
        "type": "function",
        "name": "add",
        "stateMutability": "nonpayable",
        "inputs": [{"name": "amount", "type": "uint256"}],
        "outputs": [],
    },
    {
        "type": "function",
        "name": "total",
        "stateMutability": "view",
        "inputs": [],
        "outputs": [{"name": "", "type": "uint256"}],
    },
    {
        "type": "event",
        "name": "Added",
        "inputs": [
            {"name": "who", "type": "address", "indexed": True},
            {"name": "amount", "type": "uint256", "indexed": False},
            {"name": "total", "type": "uint256", "indexed": False},
        ],
    },
]
REASON = "counter: too much"
_OPS = {
    "STOP": 0x00, "ADD": 0x01, "GT": 0x11, "EQ": 0x14, "SHR": 0x1C, "CALLER": 0x33, "CALLDATALOAD": 0x35,
    "CODECOPY": 0x39, "MSTORE": 0x52, "SLOAD": 0x54, "SSTORE": 0x55, "JUMPI": 0x57, "JUMPDEST": 0x5B,
    "PUSH0": 0x5F, "DUP1": 0x80, "DUP2": 0x81, "SWAP1": 0x90, "LOG2": 0xA2, "RETURN": 0xF3, "REVERT": 0xFD,
}  # fmt: skip


def _assembled(program: str, words: dict[str, bytes]) -> bytes:
    """Operations, `0x..` to push, `$name` to push a word, `@name` to push a label's place, `name:` a label."""
    code, labels, uses = bytearray(), {}, []
    for token in program.split():
        if token.endswith(":"):
            labels[token[:-1]] = len(code)
            code.append(_OPS["JUMPDEST"])
        elif token[0] == "@":
            uses.append((len(code) + 1, token[1:]))
            code += b"\x61\x00\x00"
        elif token[0] == "$" or token.startswith("0x"):
            word = words[token[1:]] if token[0] == "$" else bytes.fromhex(token[2:])
            code += bytes([0x5F + len(word)]) + word
        else:
            code.append(_OPS[token])
    for place, name in uses:
        code[place : place + 2] = labels[name].to_bytes(2, "big")
    return bytes(code)


_RUNTIME = _assembled(
    """
    PUSH0 CALLDATALOAD 0xe0 SHR
    DUP1 $add EQ @add JUMPI
    $total EQ @total JUMPI
    PUSH0 PUSH0 REVERT
    total: PUSH0 SLOAD PUSH0 MSTORE 0x20 PUSH0 RETURN
    add: 0x04 CALLDATALOAD 0x64 DUP2 GT @bad JUMPI
    DUP1 PUSH0 SLOAD ADD DUP1 PUSH0 SSTORE
    SWAP1 PUSH0 MSTORE 0x20 MSTORE
    CALLER $topic 0x40 PUSH0 LOG2 STOP
    bad: $error PUSH0 MSTORE 0x20 0x04 MSTORE $length 0x24 MSTORE $reason 0x44 MSTORE 0x64 PUSH0 REVERT
    """,
    {
        "add": keccak(text="add(uint256)")[:4],
        "total": keccak(text="total()")[:4],
        "topic": keccak(text="Added(address,uint256,uint256)"),
        "error": keccak(text="Error(string)")[:4] + bytes(28),
        "length": bytes([len(REASON)]),
        "reason": REASON.encode().ljust(32, b"\0"),
    },
)
_INIT = bytes.fromhex("61") + len(_RUNTIME).to_bytes(2, "big") + bytes.fromhex("80600a5f395ff3")
assert len(_INIT) == 0x0A
BYTECODE = _INIT + _RUNTIME


def counter() -> Contract:
    """It, with what deploys it."""
    return Contract("Counter", ABI, BYTECODE)
