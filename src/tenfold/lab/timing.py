"""Seconds of programs side by side, for cost claims and benchmarks."""

import time
from collections.abc import Callable
from typing import Any

import jax

Statistic = Callable[[list[float]], float]


def timings(
    programs: dict[str, Callable[[], Any]], *, spend: float = 2.0, statistic: Statistic = min
) -> dict[str, float]:
    """Seconds of each, taken in turn, so that a slow spell of the machine hits all.

    At least 21 times each, and for `spend` seconds; by default the least is taken. On a CPU they
    are seconds that this process computed, so that what else runs there does not count.
    """
    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in programs}
    for program in programs.values():
        jax.block_until_ready(program())
    end, rounds = time.perf_counter() + spend, 0
    while rounds < 21 or time.perf_counter() < end:
        rounds += 1
        for name, program in programs.items():
            start = clock()
            jax.block_until_ready(program())
            times[name].append(clock() - start)
    return {name: statistic(values) for name, values in times.items()}
