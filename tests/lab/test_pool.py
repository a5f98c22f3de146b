"""One arm stays with one worker, so that it is compiled once; whoever is free helps."""

import pytest

from tenfold.lab.pool import Schedule


def units(**arms):
    return [(arm, seed) for arm, seeds in arms.items() for seed in range(seeds)]


def test_every_unit_is_handed_out_once():
    todo = units(a=3, b=2, c=1)
    schedule = Schedule(todo)
    handed = [schedule.next(number % 2) for number in range(6)]
    assert sorted(handed) == sorted(todo)
    assert not schedule.waiting
    assert schedule.next(0) is None


def test_a_worker_keeps_to_its_arm():
    schedule = Schedule(units(a=3, b=3))
    first = [schedule.next(0), schedule.next(1), schedule.next(1), schedule.next(0)]
    assert first == [("a", 0), ("b", 0), ("b", 1), ("a", 1)]


def test_a_free_worker_takes_an_arm_that_nobody_has():
    schedule = Schedule(units(a=5, b=1, c=1))
    assert [schedule.next(0), schedule.next(1)] == [("a", 0), ("b", 0)]
    assert schedule.next(1) == ("c", 0)


def test_a_free_worker_helps_with_the_longest_arm_at_the_end():
    schedule = Schedule(units(a=2, b=5, c=1))
    for worker in (0, 1, 2):
        schedule.next(worker)
    assert schedule.next(2) == ("b", 1)
    assert schedule.next(1) == ("b", 2)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_no_worker_waits_while_there_is_work(workers):
    schedule = Schedule(units(a=4, b=1))
    handed = [schedule.next(number % workers) for number in range(5)]
    assert None not in handed


def test_nothing_is_handed_out_after_a_cancel():
    schedule = Schedule(units(a=3))
    schedule.next(0)
    schedule.cancel()
    assert schedule.next(0) is None
    assert not schedule.waiting
