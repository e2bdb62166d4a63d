from hub.pauses import MOST_KEPT, Pauses


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success() -> None:
    clock = Clock()
    pauses = Pauses[str](0.5, 3.0, clock)
    assert pauses.left_s("a") == 0
    seen = []
    for _ in range(5):
        pauses.failed("a")
        seen.append(pauses.left_s("a"))
        clock.now += seen[-1]
        assert pauses.left_s("a") == 0
    assert seen == [0.5, 1.0, 2.0, 3.0, 3.0]
    pauses.forget("a")
    pauses.failed("a")
    assert pauses.left_s("a") == 0.5
    assert pauses.left_s("b") == 0


def test_those_that_are_of_no_interest_any_more_are_forgotten() -> None:
    pauses = Pauses[int](1.0, 2.0, Clock())
    for number in range(MOST_KEPT + 10):
        pauses.failed(number)
    assert [pauses.left_s(number) for number in (0, 9, 10)] == [0, 0, 1.0]
    pauses.keep_only({11})
    assert [pauses.left_s(number) for number in (10, 11)] == [0, 1.0]
