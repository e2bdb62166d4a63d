"""What time it is for a vault: never earlier than the chain's next block may be."""

from hub.vault.clock import ChainClock


class Clocks:
    """This machine's, which may be wrong."""

    def __init__(self, wall: float) -> None:
        self.wall, self.passed = wall, 0.0

    def made(self) -> ChainClock:
        return ChainClock(lambda: self.passed, lambda: self.wall)


def test_while_no_block_comes_time_goes_on() -> None:
    clocks = Clocks(wall=0)
    clock = clocks.made()
    assert clock.now_s(1_000) == 1_000
    clocks.passed = 300
    assert clock.now_s(1_000) == 1_300
    assert clock.now_s(1_010) == 1_010


def test_a_machine_whose_clock_is_behind_goes_by_the_chain_and_one_that_is_ahead_by_its_own() -> None:
    assert Clocks(wall=1_000_000 - 7_200).made().now_s(1_000_000) == 1_000_000
    assert Clocks(wall=1_000_000 + 7_200).made().now_s(1_000_000) == 1_000_000 + 7_200
