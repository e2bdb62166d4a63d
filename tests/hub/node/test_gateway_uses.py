"""What the processes of a gateway give away counts as use where the node decides which chunks go."""

import shutil
from pathlib import Path

import pytest

from hub.node.storage import NodeStore
from hub.storage.uses import FOLDER, TellingChunks, take_uses
from tests.hub.gateway.gateway_process import GatewayProcess
from tests.hub.node.music import Elsewhere
from tests.hub.node.processes import get, until

NAMES = [f"{number:064x}" for number in range(3)]


@pytest.mark.parametrize("carrier", ["hypercorn", "nginx"])
def test_what_several_processes_gave_away_is_kept_longer(tmp_path: Path, carrier: str) -> None:
    if carrier == "nginx" and not shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin"):
        pytest.skip("there is no nginx here")
    old, new = (Elsewhere(tmp_path / "artist", chunk_count=4, seed=seed) for seed in (1, 2))
    node = NodeStore(tmp_path / "node", old.bytes + len(new.document))
    try:
        old.give(node)
        settings = {"DIGM_GATEWAY_TCP": carrier, "DIGM_GATEWAY_WORKERS": "2"}
        wanted = old.hashes[::3]
        with GatewayProcess(node.data, settings) as gateway:
            for name in wanted * 2:  # nginx sends by itself what was asked for before
                assert get(f"{gateway.url}/{name}")[0] == 200
            until(lambda: told(node.data) == set(wanted))
        new.give(node, len(old.hashes) - len(wanted))
        assert [name for name in old.hashes if name in node.chunks] == wanted
    finally:
        node.close()


def told(data: Path) -> set[str]:
    """What the processes have told by now."""
    files = [path for path in (data / FOLDER).iterdir() if not path.name.startswith(".")]
    return {name for path in files for name in path.read_text().splitlines()}


def test_where_nobody_asks_nothing_is_written_and_what_nobody_takes_does_not_grow(tmp_path: Path) -> None:
    chunks = TellingChunks(tmp_path)
    chunks.note_use(NAMES[0])
    chunks.tell()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / FOLDER).mkdir()
    for _ in range(300):
        chunks.note_use(NAMES[1])
        chunks.tell()
    assert len(list((tmp_path / FOLDER).iterdir())) == 256
    assert take_uses(tmp_path).keys() == {NAMES[1]}
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_what_is_no_hash_in_such_a_file_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "meddled").write_bytes(b"\xff\n../../etc\n" + NAMES[2].encode() + b"\n" + b"a" * 100)
    assert take_uses(tmp_path).keys() == {NAMES[2]}
