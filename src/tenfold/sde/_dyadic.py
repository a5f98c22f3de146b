"""A Brownian motion as a dyadic tree: one path at every power of two of steps, and between them."""

from typing import Any

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import DTypeLike

from tenfold.base.typing import Key, RealScalarLike
from tenfold.sde._anytime import AbstractAnyTimeNoise, clipped, path_increment
from tenfold.sde._bridge import Node, chosen, halves, interleaved, parting
from tenfold.sde._grid import Grid, matches
from tenfold.sde._noise import (
    AbstractBlocks,
    Increment,
    agreement,
    checked,
    interval,
    normals,
    run,
    settled,
)


class DyadicNoise(AbstractAnyTimeNoise):
    r"""A Brownian motion halved from the top, down to 2^levels steps: one path at every level.

    An interval of length h with increment w is cut into $w_{1,2} = w/2 \pm \sqrt{h}\,\xi/2$. Node i
    of level l draws its $\xi$ with the key folded with its heap index $2^l + i$, so any node is
    reached from the root with no state. Increments of a level sum to those of the coarser one.

    **Arguments:**

    - `key`; `shape` of the motion; `t0`, `t1`; `levels`, at most 30.
    - `block`: a solve draws 2^block steps at once: one descent, then their whole subtree.
    - `area`: also carry the space-time Levy area H, for `SRK`. The time integral over a step is
      h (w/2 + H), and the halves are, with $z \sim N(0, h/16)$ and $n \sim N(0, h/12)$,
      $w_{1,2} = w/2 \pm (3H/2 + z)$, $H_{1,2} = H/4 - z/2 \pm n/2$ (Foster 2020, thesis, theorem
      6.1.6). The path is another one than without.
    - `dtype`: by default JAX's float.

    Inside a leaf the path is its mean given the leaf: linear, or with `area` quadratic. A solve
    takes 2^l equal steps over [t0, t1], l <= levels; other grids: `VirtualBrownianTree`,
    `GridNoise.at`. Also a Diffrax path.

    **Raises:** `ValueError` unless 0 <= levels <= 30, block >= 0 and t0 < t1.

    **Cost:** a step of a solve draws about 1 + levels / 2^block normals, `value` and `between`
    levels of them.
    """

    key: Key
    t0: Array  # pyright: ignore
    t1: Array  # pyright: ignore
    leaves_per_time: Array
    shape: tuple[int, ...] = eqx.field(static=True)
    levels: int = eqx.field(static=True)
    block: int = eqx.field(static=True)
    area: bool = eqx.field(static=True)
    dtype: Any = eqx.field(static=True)
    levy_area: type = eqx.field(static=True)

    def __init__(
        self,
        key: Key,
        shape: tuple[int, ...],
        t0: RealScalarLike,
        t1: RealScalarLike,
        levels: int,
        *,
        block: int = 5,
        area: bool = False,
        dtype: DTypeLike | None = None,
    ) -> None:
        if not 0 <= levels <= 30:
            raise ValueError(f"DyadicNoise: `levels` must be from 0 to 30, got {levels}")
        if block < 0:
            raise ValueError(f"DyadicNoise: `block` must be at least 0, got {block}")
        self.dtype = jnp.zeros((), dtype).dtype
        self.t0, self.t1 = interval("DyadicNoise", t0, t1, self.dtype)
        self.leaves_per_time = 2**levels / (self.t1 - self.t0)
        self.key, self.shape, self.levels, self.block = key, tuple(shape), levels, block
        self.area = area
        self.levy_area = dfx.SpaceTimeLevyArea if area else dfx.BrownianIncrement

    @property
    def resolution(self) -> Array:
        return (self.t1 - self.t0) / 2**self.levels

    def increment(self, level: int, i: Any) -> Increment:
        """Over interval i of the 2^level of a level, with its time integral if there is one.

        **Raises:** `ValueError` unless 0 <= level <= levels.
        """
        if not 0 <= level <= self.levels:
            raise ValueError(
                f"DyadicNoise: `level` must be from 0 to {self.levels} (`levels`), got {level}"
            )
        return jax.tree.map(lambda x: x[0], self._run(level, i, 1))

    def value(self, t: Any) -> Array:
        """W(t), with W(t0) = 0; nan outside [t0, t1]."""
        return self.between(self.t0, t).w

    def between(self, t0: Any, t1: Any, *, area: bool = False) -> Increment:
        self._check_area(area)
        (start, there), (end, too) = (clipped(t, self.t0, self.t1) for t in (t0, t1))
        step = self._between(*self._place(start), *self._place(end))
        return checked(step if area else Increment(step.w, None), there & too)

    def on(self, grid: Grid, *, area: bool) -> AbstractBlocks:
        self._check_area(area)
        level = grid.n.bit_length() - 1
        even = self.t0 + (self.t1 - self.t0) * jnp.linspace(0, 1, grid.n + 1, dtype=self.dtype)
        if grid.n != 1 << level or level > self.levels or not matches(even, grid.times):
            raise ValueError(
                f"DyadicNoise: the solve must take 2^l equal steps, l <= {self.levels}, from "
                f"{self.t0} to {self.t1}; `ts` and `substeps` ask for {grid.n} steps from "
                f"{grid.times[0]} to {grid.times[-1]}. Other grids: VirtualBrownianTree, "
                "GridNoise.at"
            )
        return _DyadicBlocks(
            noise=self,
            level=level,
            area=area,
            agrees=agreement(even, grid.times),
            preferred=1 << min(self.block, level),
        )

    def evaluate(self, t0, t1=None, left=True, use_levy=False):
        del left
        return path_increment(self, t0, t1, use_levy)

    def _check_area(self, area: bool) -> None:
        if area and not self.area:
            raise ValueError(
                "DyadicNoise: time integrals were asked for (SRK needs them); make the noise with "
                "`area=True`"
            )

    def _width(self, level: int) -> Array:
        return (self.t1 - self.t0) / 2**level

    def _place(self, t: Array) -> tuple[Array, Array]:
        """The leaf that holds t, and how far into it, from 0 to 1."""
        position = settled((t - self.t0) * self.leaves_per_time)
        # As integers: 2^levels - 1 is no float32 from 25 levels on.
        leaf = jnp.clip(jnp.floor(position).astype(jnp.int32), 0, 2**self.levels - 1)
        return leaf, jnp.clip(position - leaf.astype(position.dtype), 0, 1)

    def _normals(self, heap: Array) -> Array:
        """The normals of some nodes, (nodes, 1 or 2, *shape): all of them in one draw."""

        def one(i: Array) -> Array:
            shape = (2 if self.area else 1, *self.shape)
            return normals(jax.random.fold_in(self.key, i), shape, self.dtype)

        return jax.vmap(one)(heap)

    def _root(self, n: Array) -> Node:
        h = self.t1 - self.t0
        levy = settled(jnp.sqrt(h / 12) * n[1]) if self.area else None
        return Node(settled(jnp.sqrt(h) * n[0]), levy)

    def _run(self, level: int, first: Any, size: int) -> Increment:
        """Intervals first, ..., first + size - 1 of a level. `size` is a power of two and `first` a
        multiple of it, so that they are the leaves of one subtree."""
        below = size.bit_length() - 1
        top = level - below
        subtree = jnp.asarray(first, jnp.int32) >> below
        path = [jnp.zeros(1, jnp.int32)]
        path += [run((1 << k) + (subtree >> (top - k)), 1) for k in range(top)]
        path += [run((1 << (top + k)) + (subtree << k), 1 << k) for k in range(below)]
        drawn = self._normals(jnp.concatenate(path))
        node = self._root(drawn[0])
        for k in range(top):
            second = ((subtree >> (top - k - 1)) & 1) == 1
            node = chosen(second, *halves(node, self._width(k), drawn[1 + k]))
        nodes = jax.tree.map(lambda x: x[None], node)
        for k in range(below):
            n = jnp.moveaxis(drawn[top + (1 << k) : top + (2 << k)], 1, 0)
            nodes = interleaved(*halves(nodes, self._width(top + k), n))
        return nodes.stretch(self._width(level)).increment

    def _between(self, i: Array, x: Array, j: Array, y: Array) -> Increment:
        """From the share x of leaf i to the share y of leaf j."""
        levels = jnp.arange(self.levels, dtype=jnp.int32)
        leaves = jnp.stack([i, j])
        heap = (1 << levels)[:, None] + (leaves[None, :] >> (self.levels - levels)[:, None])
        drawn = self._normals(jnp.concatenate([jnp.zeros(1, jnp.int32), heap.ravel()]))
        below = drawn[1:].reshape((*heap.shape, *drawn.shape[1:]))
        bits = (leaves[None, :] >> (self.levels - 1 - levels)[:, None]) & 1
        descent = parting(self._root(drawn[0]), self._width(0))
        descent, _ = jax.lax.scan(lambda s, x: (s.down(*x), None), descent, (bits, below))
        return descent.stretch(x, y).increment


class _DyadicBlocks(AbstractBlocks):
    """The intervals of one level."""

    noise: DyadicNoise
    level: int = eqx.field(static=True)
    area: bool = eqx.field(static=True)
    agrees: Array | None
    preferred: int = eqx.field(static=True)

    def __call__(self, first: Any, size: int) -> Increment:
        first, whole = jnp.asarray(first, jnp.int32), 1 << (size - 1).bit_length()
        if size == whole:
            steps = checked(self.noise._run(self.level, first, size), first % size == 0)
        else:
            steps = self._across(first, size, whole)
        return checked(steps if self.area else Increment(steps.w, None), self.agrees)

    def _across(self, first: Any, size: int, whole: int) -> Increment:
        """A run of any length: part of two neighbouring subtrees."""
        last = (1 << self.level) // whole - 1
        subtrees = [first // whole, jnp.minimum(first // whole + 1, last)]
        runs = [self.noise._run(self.level, k * whole, whole) for k in subtrees]
        both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *runs)
        return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first % whole, size), both)
