"""Halving an interval of Brownian motion, and gathering what lies between two of its leaves."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from tenfold.sde._noise import Increment, settled


class Stretch(NamedTuple):
    """A Brownian motion from one time to another."""

    h: Array
    w: Array
    area: Array | None
    """The integral of W(t) - W(start); None where it isn't known."""

    def then(self, other: "Stretch") -> "Stretch":
        area = None
        if self.area is not None and other.area is not None:
            area = self.area + other.area + settled(other.h * self.w)
        return Stretch(self.h + other.h, self.w + other.w, area)

    @property
    def increment(self) -> Increment:
        return Increment(self.w, self.area)


class Node(NamedTuple):
    """An interval of a tree: its increment and its space-time Levy area."""

    w: Array
    levy: Array | None

    def stretch(self, h: Array) -> Stretch:
        area = None if self.levy is None else settled(h * (0.5 * self.w + self.levy))
        return Stretch(h, self.w, area)

    def inside(self, h: Array, x: Any, y: Any) -> Stretch:
        """From the share x to the share y, along the mean path x w + 6 x (1 - x) H."""
        d = y - x
        if self.levy is None:
            return Stretch(settled(d * h), settled(d * self.w), None)
        w = d * (self.w + settled(6 * (1 - x - y) * self.levy))
        area = 0.5 * self.w + settled((3 - 6 * x - 2 * d) * self.levy)
        return Stretch(settled(d * h), settled(w), settled(h * (d * d) * area))


def halves(node: Node, h: Any, n: Array) -> tuple[Node, Node]:
    """The two halves of an interval of length h, from standard normals n, one or (with the Levy
    area) two of them."""
    half = 0.5 * node.w
    if node.levy is None:
        tilt = settled(0.5 * jnp.sqrt(h) * n[0])
        return Node(half + tilt, None), Node(half - tilt, None)
    z, spread = settled(0.25 * jnp.sqrt(h) * n[0]), settled(0.5 * jnp.sqrt(h / 12) * n[1])
    tilt, mean = node.levy + (0.5 * node.levy + z), 0.25 * node.levy - 0.5 * z
    return Node(half + tilt, mean + spread), Node(half - tilt, mean - spread)


def chosen(second: Any, a: Any, b: Any) -> Any:
    """b where `second`, else a."""
    return jax.tree.map(lambda a, b: jnp.where(second, b, a), a, b)


def interleaved(a: Any, b: Any) -> Any:
    """a[0], b[0], a[1], b[1], ..."""
    return jax.tree.map(lambda a, b: jnp.stack([a, b], axis=1).reshape((-1, *a.shape[1:])), a, b)


class Descent(NamedTuple):
    """On the way from the root to two leaves at once, the left one not right of the other.

    Where they part, what lies between them is gathered on both sides. The increment from one to
    the other is thus no difference of two values, each far larger than it.
    """

    h: Array
    """Length of the nodes."""
    parted: Array
    left: Node
    right: Node
    after: Stretch
    """Once parted: from the end of the left node to where they parted ..."""
    before: Stretch
    """... and from there to the start of the right node."""

    def down(self, bits: Array, n: Array) -> "Descent":
        """One level: to the second half where the bit is 1, for left and right."""
        h = 0.5 * self.h
        halves_left = halves(self.left, self.h, n[0])
        halves_right = halves(self.right, self.h, n[1])
        after = halves_left[1].stretch(h).then(self.after)
        before = self.before.then(halves_right[0].stretch(h))
        return Descent(
            h,
            self.parted | (bits[0] != bits[1]),
            chosen(bits[0] == 1, *halves_left),
            chosen(bits[1] == 1, *halves_right),
            chosen(self.parted & (bits[0] == 0), self.after, after),
            chosen(self.parted & (bits[1] == 1), self.before, before),
        )

    def stretch(self, x: Array, y: Array) -> Stretch:
        """From the share x of the left leaf to the share y of the right one."""
        apart = self.left.inside(self.h, x, jnp.ones_like(x)).then(self.after)
        apart = apart.then(self.before).then(self.right.inside(self.h, jnp.zeros_like(y), y))
        return chosen(self.parted, self.left.inside(self.h, x, y), apart)


def parting(root: Node, h: Array) -> Descent:
    """At the root, of length h."""
    nothing = jax.tree.map(jnp.zeros_like, root.stretch(h))
    return Descent(h, jnp.asarray(False), root, root, nothing, nothing)
