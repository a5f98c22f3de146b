"""The node of scan, which keeps what it computed in every iteration for the orders to come."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend import core
from jaxtyping import PyTree

from tenfold.base.jet._loops import fixed_point
from tenfold.base.jet._series import Coefficient, Series, dense
from tenfold.base.jet._tower import Frame, Node, evaluate, literal, node


@node("scan")
class Scan(Node):
    """A loop of known length, online: order k is one more scan, which carries coefficient k alone.

    The coefficients before it, of every intermediate in every iteration, are kept stacked, as
    reverse mode keeps them; those that are the same in all iterations are kept once. K orders cost
    K passes of the body.
    """

    def __init__(self, equation: core.JaxprEqn, moving: list[bool]):
        self._params = p = equation.params
        self._split = p["num_consts"], p["num_consts"] + p["num_carry"]
        start, stop = self._split
        constants, scanned = moving[:start], moving[stop:]
        self._moves = fixed_point(p["jaxpr"], constants, moving[start:stop], scanned)
        varying = constants + self._moves + scanned
        self._frame = Frame(p["jaxpr"].jaxpr, p["jaxpr"].consts, varying)
        self._carried: list[list[Coefficient]] = [[] for _ in self._moves]
        self._kept: list[Coefficient] = []
        self._stacked: list[bool] = []
        """Which of `_kept` have an axis of iterations."""
        self._places: list[tuple[list[Coefficient], list[int | None]]] = []
        """The lists of coefficients in the body, and where in `_kept` their entries are."""

    def memory(self) -> list[list[Coefficient]]:
        return [self._kept]

    def push(
        self, k: int, inputs: Sequence[Series], outputs: Sequence[Series]
    ) -> Sequence[Coefficient]:
        start, stop = self._split
        carry = [
            dense(u[k], u[0]) if moves or k == 0 else None
            for moves, u in zip(self._moves, inputs[start:stop])
        ]
        stacks = [x for x, stacked in zip(self._kept, self._stacked) if stacked]
        slices = (stacks, [list(u[: k + 1]) for u in inputs[stop:]])

        def body(carry: list[Coefficient], slices: Any) -> Any:
            return self._body(k, inputs[:start], carry, *slices)

        # Traced by hand, and so once: the walk changes what the body's frame remembers.
        example = carry, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), slices)
        closed, shapes = jax.make_jaxpr(body, return_shape=True)(*example)
        for cell, _ in self._places:
            cell.clear()
        count = len(shapes[1])
        invariant = _invariant(closed)[-count:] if count else []
        run = core.jaxpr_as_fun(closed)

        def iteration(carry: list[Coefficient], slices: Any) -> Any:
            flat = run(*jax.tree.leaves((carry, slices)))
            (carry, ys), new = jax.tree.unflatten(jax.tree.structure(shapes), flat)
            return carry, (ys, [x for x, same in zip(new, invariant) if same is None])

        settings = {name: self._params[name] for name in ("length", "reverse", "unroll")}
        last, (ys, stacks) = jax.lax.scan(iteration, carry, slices, **settings)
        stacks = iter(stacks)
        self._kept += [next(stacks) if same is None else same for same in invariant]
        self._stacked += [same is None for same in invariant]
        return [*last, *ys]

    def _body(
        self,
        k: int,
        constants: Sequence[Series],
        carry: list[Coefficient],
        stacks: list[Array],
        scanned: Sequence[Series],
    ) -> tuple[PyTree, list[Array]]:
        """Carried and returned coefficients k of one iteration, and what is new to be kept."""
        sliced = iter(stacks)
        kept = [next(sliced) if s else x for x, s in zip(self._kept, self._stacked)]
        for cell, places in self._places:
            cell[:] = [None if place is None else kept[place] for place in places]
        for cell, coefficient in zip(self._carried, carry):
            cell.append(coefficient)
        found = self._frame.push(k, [*constants, *self._carried, *scanned])
        count = len(carry)
        after = [None if c is None else dense(x, c) for x, c in zip(found[:count], carry)]
        return (after, found[count:]), self._remember(kept)

    def _remember(self, kept: list[Coefficient]) -> list[Array]:
        """Finds places for the entries that the lists of the body have gained."""
        places = {id(cell): known for cell, known in self._places}
        numbers = {id(x): i for i, x in enumerate(kept)}
        cells, new = [*self._carried, *self._frame.memory()], []
        self._places = [(cell, list(places.get(id(cell), []))) for cell in cells]
        for cell, known in self._places:
            for entry in cell[len(known) :]:
                if entry is not None and id(entry) not in numbers:
                    numbers[id(entry)] = len(kept) + len(new)
                    new.append(entry)
                known.append(None if entry is None else numbers[id(entry)])
        return new


def _invariant(closed: core.ClosedJaxpr) -> list[Array | None]:
    """The outputs that depend on no input; `None` for the others."""
    known = {v: jnp.asarray(c) for v, c in zip(closed.jaxpr.constvars, closed.consts)}

    def read(v: Any) -> Any:
        return literal(v) if isinstance(v, core.Literal) else known.get(v)

    for equation in closed.jaxpr.eqns:
        operands = [read(v) for v in equation.invars]
        if not equation.effects and all(x is not None for x in operands):
            known |= zip(equation.outvars, evaluate(equation, operands))
    return [read(v) for v in closed.jaxpr.outvars]
