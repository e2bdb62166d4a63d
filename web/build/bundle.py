"""Runs inside Pyodide at build time: find the modules in use, compile them, write them into a stored zip.

Compiling in the very interpreter that will load them is what makes the byte code valid: CPython's own would
not be.
"""

import _imp
import importlib
import importlib._bootstrap_external as external
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

# Imported lazily by the standard library when something goes wrong or a text is decoded: they must be there
# too.
LAZY_MODULES = (
    "traceback",
    "tokenize",
    "linecache",
    "encodings.idna",
    "encodings.ascii",
    "encodings.latin_1",
    "hashlib",
    "hmac",
)


def module_name(path: Path, root: Path) -> str:
    """`digm/__init__.py` -> `digm`, `digm/ids.py` -> `digm.ids`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def stdlib_modules(archive: str) -> dict[str, str]:
    """Names in the standard library's zip of the modules imported so far -> the zip's entry."""
    found = {}
    for module in list(sys.modules.values()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None) or ""
        if origin.startswith(archive) and origin.endswith((".py", ".pyc")):
            entry = origin[len(archive) + 1 :]
            found[module.__spec__.name] = entry.removesuffix("c")
    return found


def compiled(source: bytes, name: str) -> bytes:
    """Unchecked hash-based byte code (PEP 552): the importer neither looks for the source nor for its time."""
    code = compile(source, name, "exec", dont_inherit=True, optimize=1)
    digest = _imp.source_hash(_imp.pyc_magic_number_token, source)
    return bytes(external._code_to_hash_pyc(code, digest, False))


def write_bundles(sources: str, later: list[str], target: str, later_target: str) -> list[str]:
    """Write both zips; return the names of our modules of the first one in import order.

    Args:
        later: paths below `sources` that go into the second zip, with what of the library only they use.
    """
    root = Path(sources)
    sys.path.insert(0, sources)
    paths = {module_name(path, root): path for path in sorted(root.rglob("*.py"))}
    afterwards = {name: path for name, path in paths.items() if str(path.relative_to(root)) in later}
    ours = {name: path for name, path in paths.items() if name not in afterwards}
    archive = next(entry for entry in sys.path if entry.endswith(".zip"))
    for name in (*ours, *LAZY_MODULES):
        importlib.import_module(name)
    write_zip(target, archive, stdlib_modules(archive), ours.values(), root)
    library = stdlib_modules(archive)  # with what writing a zip takes
    for name in afterwards:
        importlib.import_module(name)
    more = {name: entry for name, entry in stdlib_modules(archive).items() if name not in library}
    write_zip(later_target, archive, more, afterwards.values(), root)
    return [*LAZY_MODULES, *ours]


def write_zip(target: str, archive: str, library: dict[str, str], ours: Iterable[Path], root: Path) -> None:
    """Byte code of modules of the standard library and of ours, stored."""
    with zipfile.ZipFile(archive) as stdlib, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as bundle:

        def add(entry: str, source: bytes) -> None:
            info = zipfile.ZipInfo(f"{entry}c", (1980, 1, 1, 0, 0, 0))
            bundle.writestr(info, compiled(source, entry))

        for _name, entry in sorted(library.items()):
            add(entry, stdlib.read(entry))
        for path in ours:
            add(str(path.relative_to(root)), path.read_bytes())
