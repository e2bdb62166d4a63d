"""Compile the contracts: ABI and bytecode, as JSON beside the client that uses them (`hub/chain/abi/`).

    python contracts/build.py            writes them
    python contracts/build.py --check    compiles and compares: what CI runs

Only the standard library is needed. The compiler comes into `.venv-contracts`, an environment of its own (what
it depends on does not go together with DIGM), in exactly the versions of `contracts/requirements.lock`. Nobody
who runs DIGM needs it.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE.parent / ".venv-contracts"
OUT = HERE.parent / "hub" / "chain" / "abi"
LOCK = HERE / "requirements.lock"
CONTRACTS = ("Passes", "Pinning", "Sales", "Token", "TrackRegistry")
MODULES = ("merkle",)
TEST_CONTRACTS = HERE.parent / "tests" / "contracts" / "vyper"
TEST_OUT = TEST_CONTRACTS / "compiled.json"
MAX_RUNTIME_BYTES = 24_576
"""What a chain takes at most (EIP-170)."""


def compiler() -> Path:
    """The Vyper compiler, installed where it is not there in the version of the lock file."""
    executable = ENVIRONMENT / "bin" / "vyper"
    stamp = ENVIRONMENT / "installed"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not (executable.exists() and stamp.exists() and stamp.read_text() == wanted):
        print(f"Setting up the Vyper compiler in {ENVIRONMENT.name}", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        pip = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", "--require-hashes", "-r", str(LOCK)], check=True)
        stamp.write_text(wanted)
    return executable


def compiled(source: Path, vyper: Path) -> dict[str, object]:
    """One contract.

    Returns:
        `abi`, `bytecode` (0x and hex, what deploys it), `runtime_bytes`, `compiler`, `sources` (SHA-256).
    """
    command = [str(vyper), "-p", str(HERE), "-f", "abi,bytecode,bytecode_runtime", str(source)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{source.name} does not compile:\n{run.stderr}")
    abi, bytecode, runtime = run.stdout.strip().splitlines()[-3:]
    size = len(runtime) // 2 - 1
    if size > MAX_RUNTIME_BYTES:
        raise SystemExit(f"{source.name} has {size} bytes; a chain takes {MAX_RUNTIME_BYTES}.")
    return {
        "compiler": LOCK.read_text().partition("vyper==")[2].split()[0],
        "sources": sources_hash(source),
        "runtime_bytes": size,
        "abi": json.loads(abi),
        "bytecode": bytecode,
    }


def sources_hash(source: Path) -> str:
    """SHA-256 over the contract's file and the modules', so that a stale ABI is seen without a compiler."""
    digest = hashlib.sha256(source.read_bytes())
    for module in MODULES:
        digest.update((HERE / f"{module}.vy").read_bytes())
    return digest.hexdigest()


def build() -> dict[Path, str]:
    """Everything that is committed: path -> text."""
    vyper = compiler()
    made = {}
    for name in CONTRACTS:
        described = {"contract": name} | compiled(HERE / f"{name}.vy", vyper)
        made[OUT / f"{name}.json"] = json.dumps(described, indent=1) + "\n"
    tests = {source.stem: compiled(source, vyper) for source in sorted(TEST_CONTRACTS.glob("*.vy"))}
    made[TEST_OUT] = json.dumps(tests, indent=1) + "\n"
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="compare with what is committed, write nothing")
    check = parser.parse_args().check
    stale = []
    for path, text in build().items():
        size = json.loads(text).get("runtime_bytes", "")
        if check and (not path.exists() or path.read_text() != text):
            stale.append(path.name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(path.name, size)
    if stale:
        print(f"Not what the sources compile to: {', '.join(stale)}. Run python contracts/build.py")
    elif check:
        print("ABI and bytecode are what the sources compile to.")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
