"""How a solve is differentiated: what is stored, what is computed again, what is exact."""

import abc
import math

import equinox as eqx
import jax

from tenfold.sde._march import Problem, Saved, chunk_of, march


class AbstractGradient(eqx.Module):
    """Solves a `Problem`, in a way that JAX can differentiate backwards."""

    @abc.abstractmethod
    def __call__(self, problem: Problem) -> Saved:
        """States at `ts`, the cost, and the strain of the scheme."""

    @abc.abstractmethod
    def check(self, problem: Problem) -> None:
        """**Raises:** `ValueError` when this way of differentiating doesn't fit the problem."""


class Store(AbstractGradient):
    """Every intermediate is stored: exact, fastest for short solves, memory O(steps)."""

    def check(self, problem: Problem) -> None:
        del problem

    def __call__(self, problem: Problem) -> Saved:
        return march(problem)[0].saved


class Checkpoint(AbstractGradient):
    """The state is stored at each chunk of steps, the rest computed again: exact, any scheme.

    **Arguments:** `every`: steps a chunk, by default about sqrt(steps), so that memory is
    O(sqrt(steps)).

    **Cost:** two forward solves and one backward.
    """

    every: int | None = eqx.field(static=True, default=None)

    def check(self, problem: Problem) -> None:
        del problem
        if self.every is not None and self.every < 1:
            raise ValueError(f"Checkpoint: `every` must be at least 1 step, got {self.every}")

    def __call__(self, problem: Problem) -> Saved:
        every = self.every or _root(problem.segments()[1], chunk_of(problem))
        return march(problem, chunk=every, wrap=jax.checkpoint)[0].saved


def _root(n: int, preferred: int) -> int:
    """A power of two near sqrt(n): trees of noise are drawn in such runs."""
    root = 2 ** round(math.log2(max(1.0, math.sqrt(n))))
    return root if preferred >= root else max(1, min(root, preferred))
