"""kill -9 at random moments: every acknowledged track is whole, no half track is listed, no orphan stays."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hub.publishing.staging import sweep_staging
from hub.publishing.vault import Vault

SCRIPT = Path(__file__).with_name("publish_until_killed.py")
WORKERS = 2
ROUNDS = 50


@pytest.mark.parametrize("ingest", ["real", "stand-in"])
def test_killed_at_100_random_moments_every_acknowledged_track_is_whole(data, tmp_path, ingest):
    """Two publishers share a data folder and are killed again and again, 100 times together."""
    workers = []
    for number in range(WORKERS):
        music = tmp_path / f"music{number}"
        music.mkdir()
        given = [data.path, music, str(ROUNDS), str(number), ingest]
        workers.append(subprocess.Popen([sys.executable, SCRIPT, *given], stdout=subprocess.PIPE, text=True))
    acknowledged = set()
    for worker in workers:
        said, _ = worker.communicate(timeout=250)
        assert worker.returncode == 0
        acknowledged |= set(json.loads(said))
    sweep_staging(data.path)
    listed = {entry.track_root for entry in data.tracks()}
    assert acknowledged <= listed
    # A kill between the commit and its acknowledgement leaves a whole track that nobody heard of.
    assert len(listed - acknowledged) < WORKERS * ROUNDS
    assert len(acknowledged) >= 5
    data.assert_consistent()
    with Vault.open(data.path / "vault.digm") as vault:
        assert all(vault.secret(root) is not None for root in listed)
