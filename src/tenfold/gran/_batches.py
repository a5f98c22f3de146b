"""The batches of a training, each a function of its number. *Host.*"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from tenfold.base.typing import Key
from tenfold.gran._batch import Batch, Shapes
from tenfold.gran._graph import as_graph
from tenfold.gran._model import GRAN
from tenfold.gran._train import host_rng, make_batch

LOOKS = 16
"""Batches that are drawn in advance to find shapes that nearly all fit in."""


class Batches:
    """`batches(i)`: some windows of some graphs, a function of the key and of i alone. *Host.*

    So a training that is resumed at step i sees what an unbroken one saw. Shapes are those of the
    largest of a few batches: a training compiles once, seldom twice.
    """

    def __init__(
        self,
        model: GRAN,
        graphs: Sequence[Any],
        size: int,
        *,
        pool: int = 0,
        shapes: Shapes | None = None,
        key: Key,
        **how: Any,
    ) -> None:
        """**Arguments:**

        - `size`: graphs of a batch, each once; all, if there are fewer.
        - `pool`: batches come again after so many, which saves making them; 0: none does.
        - `shapes`: of other batches, whose compiled program is then shared where they are enough.
        - `how`: of `make_batch`: `orders`, `blocks`, `stride`, `steps_per_graph`, `shards`.

        **Raises:** ValueError as `make_batch` does, or for `size` < 1 or `pool` < 0.
        """
        if size < 1 or pool < 0:
            raise ValueError(f"Batches: `size` >= 1, `pool` >= 0, got {size}, {pool}")
        self._model, self._graphs, self._how = model, [as_graph(g) for g in graphs], how
        self._size, self._pool, self._key = min(size, len(graphs)), pool, key
        self._made: dict[int, Batch] = {}
        looks = [] if shapes else [self._drawn(i, None).shapes for i in range(LOOKS)]
        self.shapes = shapes or Shapes(*map(max, zip(*looks)))

    def __call__(self, i: int) -> Batch:
        if not self._pool:
            return self._drawn(i, self.shapes)
        i = i % self._pool
        if i not in self._made:
            self._made[i] = self._drawn(i, self.shapes)
        return self._made[i]

    def _drawn(self, i: int, shapes: Shapes | None) -> Batch:
        key = jax.random.fold_in(self._key, i)
        chosen = host_rng(jax.random.fold_in(key, 1)).choice(
            len(self._graphs), self._size, replace=False
        )
        some = [self._graphs[j] for j in np.asarray(chosen).tolist()]
        return make_batch(self._model, some, shapes=shapes, key=key, **self._how)
