"""Strangers: js-libp2p programs that know docs/backbone.md and nothing else of us."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.hub.backbone.nodes import NodeProcess, obeying

FOLDER = Path(__file__).parent
OUTSIDE_THE_MESH = "--outside-the-mesh"


def install() -> None:
    """Fetch what package-lock.json names, unless it is there."""
    done, lock = FOLDER / "node_modules" / ".package-lock.json", FOLDER / "package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        subprocess.run(["npm", "ci", "--silent"], cwd=FOLDER, check=True)
        done.touch()


def bundle(folder: Path) -> None:
    """The stranger in a page: FOLDER/page.html."""
    esbuild = FOLDER / "node_modules" / ".bin" / "esbuild"
    command = [str(esbuild), "page.mjs", "--bundle", "--log-level=error", f"--outfile={folder}/page.js"]
    subprocess.run(command, cwd=FOLDER, check=True)
    (folder / "page.html").write_text("<!doctype html><script src=page.js></script>")


@asynccontextmanager
async def stranger(folder: Path, *words: str) -> AsyncIterator[NodeProcess]:
    """A stranger that was told some multiaddrs; `OUTSIDE_THE_MESH`: one that nobody pushes gossip to."""
    node = shutil.which("node")
    assert node, "Node.js is needed: make test installs it"
    folder.mkdir(exist_ok=True)
    async with obeying([node, str(FOLDER / "main.mjs"), *words], folder / "stranger.log") as process:
        yield process
