"""The optimisers of the taylor study, made once each: an optimiser made anew is compiled anew."""

from functools import cache
from typing import Literal

import optax


@cache
def optimiser(
    kind: Literal["adam", "sgd"], rate: float, steps: int
) -> optax.GradientTransformation:
    if kind == "adam":
        return optax.adam(optax.cosine_decay_schedule(rate, steps))
    drops = {round(steps * eighths / 8): 0.1 for eighths in (3, 5, 7)}
    return optax.sgd(optax.piecewise_constant_schedule(rate, drops), momentum=0.9)
