"""The batches of a training, each a function of its number. *Host.*"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from tenfold.base.typing import Key
from tenfold.gran._batch import Batch, Shapes
from tenfold.gran._graph import as_graph
from tenfold.gran._model import GRAN, Whole, check_condition
from tenfold.gran._order import Ordering
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
        orders: Ordering | Sequence[Ordering] = "dfs",
        blocks: Whole | Sequence[int] | None = None,
        stride: Whole | None = None,
        steps_per_graph: int | None = 50,
        conditions: Any = None,
        pool: int = 0,
        shapes: Shapes | None = None,
        shards: int | None = None,
        key: Key,
    ) -> None:
        """**Arguments:**

        - `size`: graphs of a batch, each once; all, if there are fewer.
        - `pool`: batches come again after so many, which saves making them; 0: none does.
        - `shapes`: of other batches, whose compiled program is then shared where they are enough.
        - `conditions`: (graphs, condition_size), a row for each of `graphs`.
        - `orders`, `blocks`, `stride`, `steps_per_graph`, `shards`: as of `make_batch`.

        **Raises:** ValueError as `make_batch` does, or for `size` < 1 or `pool` < 0.
        """
        if size < 1 or pool < 0 or not len(graphs):
            raise ValueError(
                f"Batches: `size` >= 1, `pool` >= 0 and some `graphs` are needed, got {size}, "
                f"{pool} and {len(graphs)} graphs"
            )
        check_condition(model, conditions, len(graphs))
        self._graphs = [as_graph(g) for g in graphs]
        self._conditions = None if conditions is None else np.asarray(conditions)
        self._make = partial(
            make_batch, model, orders=orders, blocks=blocks, stride=stride,
            steps_per_graph=steps_per_graph, shards=shards,
        )  # fmt: skip
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
        told = None if self._conditions is None else self._conditions[chosen]
        return self._make(graphs=some, conditions=told, shapes=shapes, key=key)
