"""The records that neighbours put into their gossip are verified when they are new, and not each time."""

from typing import Any

import pytest
from libp2p.pubsub.pb import rpc_pb2

from hub.backbone.sender_records import CHECKED_AGAIN_S, MOST_KEPT, SenderRecords


class Host:
    def get_id(self) -> str:
        return "our host"


class Library:
    """Counts what it is asked; a record that begins with "bad" is not valid."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.checked: list[bytes] = []
        self.records = SenderRecords(self._check, lambda: self.now_s)

    def _check(self, rpc: Any, _host: Any, _peer: Any) -> bool:
        self.checked.append(rpc.senderRecord)
        return not rpc.senderRecord.startswith(b"bad")

    def says(self, record: bytes | None, peer: str = "a peer") -> bool:
        rpc = rpc_pb2.RPC() if record is None else rpc_pb2.RPC(senderRecord=record)
        return self.records.check(rpc, Host(), peer)


@pytest.fixture
def library() -> Library:
    return Library()


def test_a_record_that_is_the_same_as_the_last_is_verified_once(library: Library) -> None:
    assert all(library.says(b"record") for _ in range(5))
    assert library.checked == [b"record"]


def test_a_changed_record_is_verified(library: Library) -> None:
    assert library.says(b"record")
    assert not library.says(b"bad record")
    assert library.says(b"another")
    assert library.checked == [b"record", b"bad record", b"another"]


def test_a_bad_record_is_refused_each_time(library: Library) -> None:
    assert not any(library.says(b"bad record") for _ in range(3))


def test_what_one_peer_proved_proves_nothing_for_another(library: Library) -> None:
    assert library.says(b"record", "a peer")
    assert library.says(b"record", "another peer")
    assert len(library.checked) == 2


def test_a_record_is_verified_again_before_the_library_forgets_it(library: Library) -> None:
    library.says(b"record")
    library.now_s = CHECKED_AGAIN_S
    library.says(b"record")
    assert len(library.checked) == 2


def test_gossip_without_a_record_is_taken(library: Library) -> None:
    assert library.says(None)
    assert library.checked == []


def test_names_that_cost_nothing_take_no_room_without_end(library: Library) -> None:
    for number in range(MOST_KEPT + 10):
        library.says(b"record", f"peer {number}")
    library.checked.clear()
    library.says(b"record", f"peer {MOST_KEPT + 9}")
    library.says(b"record", "peer 0")
    assert len(library.checked) == 1
