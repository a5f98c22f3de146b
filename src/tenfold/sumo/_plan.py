"""Packing the samples of a batch, of a number each of its own, into one axis of rows."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from tenfold.base.typing import Key
from tenfold.sumo._differences import masked_rows
from tenfold.sumo._estimate import (
    Kind,
    check_kind,
    default_tail,
    expected_rows,
    row_terms,
    rows_of,
    weights_of,
)
from tenfold.sumo._tails import AbstractTail


class Ladder(eqx.Module):
    """The numbers of rows that programs are compiled for: multiples of `multiple`, each about
    `ratio` times the one below (half as much again above `common`: a heavy tail meets such sizes
    once, and each is a program), up to `top`; beyond, powers of two of whole chunks of `top` rows,
    of which the empty ones cost nothing."""

    top: int = eqx.field(static=True)
    common: float = eqx.field(static=True, default=math.inf)
    ratio: float = eqx.field(static=True, default=1.1)
    multiple: int = eqx.field(static=True, default=64)

    def __check_init__(self) -> None:
        if self.multiple < 1 or self.top % self.multiple or self.top < 1 or self.ratio <= 1:
            raise ValueError(
                f"Ladder: `top` must be a multiple of `multiple` and ratio > 1, got {self}"
            )

    @classmethod
    def around(cls, rows: float, **options: Any) -> "Ladder":
        """Fine up to one and a half times the mean number of rows, its top at four times."""
        multiple = options.get("multiple", 64)
        return cls(multiple * math.ceil(4 * rows / multiple), 1.5 * rows, **options)

    def size(self, rows: int) -> int:
        """The least size that holds `rows`: never fewer, for a truncated series is biased."""
        if rows > self.top:
            return self.top * 2 ** math.ceil(math.log2(rows / self.top))
        size = self.multiple
        while size < rows:
            ratio = self.ratio if size < self.common else 1.5
            size = self.multiple * math.ceil(max(size * ratio, size + 1) / self.multiple)
        return min(size, self.top)

    def chunks(self, size: int) -> int:
        return max(1, size // self.top)


class RowPlan(eqx.Module):
    """Which row is which sample of which datum. Drawn on the host; its arrays are NumPy's, and
    its shapes come from a ladder, so that few programs are compiled."""

    seg: Any
    """(rows,) the datum, int32."""
    pos: Any
    """(rows,) the sample's number within its datum, int32."""
    valid: Any
    """(rows,) False for the rows that only fill up the size."""
    weight: Any
    """(rows,) what the row's term is multiplied with, such as 1/P(j)."""
    count: Any
    """(batch,) rows of each datum: samples used, int32."""
    m: int = eqx.field(static=True)
    kind: Kind = eqx.field(static=True)
    chunks: int = eqx.field(static=True, default=1)

    @classmethod
    def draw(
        cls,
        key: Key | int,
        batch: int,
        tail: AbstractTail | None = None,
        m: int = 1,
        kind: Kind = "loo",
        *,
        ladder: Ladder | None = None,
        stratified: bool = False,
    ) -> "RowPlan":
        """K of each datum, and the plan for them. *Host.*

        **Arguments:** as of `sumo`; `key` a key or an integer, such as the step's number.
        `stratified`: one uniform in each of `batch` equal strata, in random order: each K has its
        distribution still, and their sum hardly varies, so that fewer sizes are met. They are
        then not independent between data: a standard error over the batch is too large.

        **Raises:** `ValueError` for an empty batch, an unknown kind, or a tail of infinite mean.
        """
        check_kind(kind, m)
        if batch < 1:
            raise ValueError(f"RowPlan: `batch` must be at least 1, got {batch}")
        tail = default_tail(kind) if tail is None else tail
        rng = _generator(key)
        u = 1 - rng.random(batch)  # in (0, 1]
        if stratified:
            u = (rng.permutation(batch) + u) / batch
        return cls.of(tail.draw(u), tail, m, kind, ladder=ladder)

    @classmethod
    def of(
        cls,
        k: np.ndarray,
        tail: AbstractTail,
        m: int = 1,
        kind: Kind = "loo",
        *,
        ladder: Ladder | None = None,
    ) -> "RowPlan":
        """For given K, (batch,). *Host.*"""
        check_kind(kind, m)
        k = np.asarray(k)
        if k.ndim != 1 or k.size == 0 or (k < 1).any():
            raise ValueError(f"RowPlan: `k` must be (batch,), each at least 1, got {k}")
        if ladder is None:
            mean = expected_rows(tail, m, kind)
            if not math.isfinite(mean):
                raise ValueError(f"RowPlan: with {tail} and kind {kind!r} the cost is infinite")
            ladder = Ladder.around(k.size * mean)
        count = rows_of(k.astype(object), m, kind).astype(np.int64)
        rows = int(count.sum())
        if rows >= 2**31:
            raise ValueError(f"RowPlan: {rows} rows are more than int32 can count")
        size = ladder.size(rows)
        fill = size - rows
        starts = np.repeat(np.cumsum(count) - count, count)
        pos = np.arange(rows) - starts
        weight = weights_of(pos, np.repeat(k, count), tail, m, kind)
        padded = lambda a, with_: np.concatenate([a, np.full(fill, with_, a.dtype)])  # noqa: E731
        return cls(
            seg=padded(np.repeat(np.arange(k.size), count), k.size - 1).astype(np.int32),
            pos=padded(pos, 0).astype(np.int32),
            valid=np.arange(size) < rows,
            weight=padded(weight, 0.0),
            count=count.astype(np.int32),
            m=m,
            kind=kind,
            chunks=ladder.chunks(size),
        )

    @property
    def batch(self) -> int:
        return self.count.shape[0]

    @property
    def rows(self) -> int:
        """Compiled for this many."""
        return self.seg.shape[0]

    @property
    def waste(self) -> float:
        """The share of rows that only fill up. *Host.*"""
        return 1 - float(np.sum(self.count)) / self.rows

    def reduce(self, logw: Array) -> tuple[Array, Array]:
        """The estimates and the L_m of all data, (batch,), from their rows' log-weights."""
        valid = jnp.asarray(self.valid)
        logw, pos = masked_rows(valid, logw, jnp.asarray(self.pos))
        rows = jnp.asarray(self.count)[jnp.asarray(self.seg)]
        weight = jnp.asarray(self.weight, logw.dtype)
        terms, bounds = row_terms(logw, pos, rows, weight, self.m, self.kind)
        return self._summed(terms), self._summed(bounds)

    def shares(self, logw: Array) -> Array:
        """(rows,) w / sum of w over the datum's rows: the derivative of its IWAE bound in logw."""
        seg, valid = jnp.asarray(self.seg), jnp.asarray(self.valid)
        logw = jnp.where(valid, logw, -jnp.inf)
        largest = jax.ops.segment_max(logw, seg, self.batch, True)
        w = jnp.exp(logw - jnp.where(jnp.isfinite(largest), largest, 0)[seg])
        return w / self._summed(w)[seg]

    def _summed(self, terms: Array) -> Array:
        terms = jnp.where(jnp.asarray(self.valid), terms, 0)
        return jax.ops.segment_sum(terms, jnp.asarray(self.seg), self.batch, True)


class Packing:
    """Counts the sizes compiled and the rows wasted by a training's plans. *Host.*"""

    def __init__(self) -> None:
        self.sizes: set[int] = set()
        self.steps = self.used = self.rows = 0

    def add(self, plan: RowPlan) -> RowPlan:
        self.sizes.add(plan.rows)
        self.steps += 1
        self.used += int(np.sum(plan.count))
        # Beyond the top of the ladder whole chunks without a sample are skipped.
        chunk = plan.rows // plan.chunks
        self.rows += chunk * math.ceil(int(np.sum(plan.count)) / chunk)
        return plan

    @property
    def compiled_sizes(self) -> int:
        return len(self.sizes)

    @property
    def waste(self) -> float:
        """The share of the rows computed that only fill up."""
        return 1 - self.used / max(1, self.rows)


def _generator(key: Any) -> np.random.Generator:
    if isinstance(key, Tracer):
        raise ValueError(
            "sumo: the number of rows is drawn on the host, and the key is being traced; draw a "
            "RowPlan outside of the jitted function and pass it as `plan`"
        )
    data = key if isinstance(key, int) else np.asarray(jax.random.key_data(key)).ravel().tolist()
    return np.random.default_rng(data)
