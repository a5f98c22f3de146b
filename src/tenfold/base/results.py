"""What became of a solve, as a value; exceptions are raised on the host only.

Compiled code returns a member of `RESULTS` and never throws: one host callback (`eqx.error_if`,
Diffrax's `throw=True`) would bar the function from JAX's persistent compilation cache.
"""

import warnings
from typing import Any

import diffrax
import jax
import numpy as np
from jaxtyping import Array, Bool

with warnings.catch_warnings():
    # Equinox warns where a message is reworded; ours name the likely causes and the fix.
    warnings.filterwarnings("ignore", message="Enumeration has duplicate")

    class RESULTS(diffrax.RESULTS):  # pyright: ignore
        """What became of a solve: all of Diffrax's, Optimistix's and Lineax's results, and ours.

        Compare with `==`, choose with `RESULTS.where(pred, a, b)`, look a message up with
        `RESULTS[result]`. A result of one of those libraries is converted by `from_diffrax`.
        """

        successful = ""
        nonfinite = (
            "A value became nan or infinite. Likely causes: a step or learning rate too large, an "
            "input that is not finite, or a logarithm or division near 0. Check the inputs, then "
            "reduce the step size, or run in float64 to tell overflow from a bug."
        )
        diverged = (
            "The iteration moved away from a solution. Likely causes: a step or learning rate too "
            "large, or a map that does not contract. Reduce the step, start closer to the "
            "solution, or use a damped or Newton-type method."
        )
        unstable = (
            "The scheme is unstable here: a state of its own moved away from the solution by more "
            "than the solution moved. Likely cause: a field that contracts strongly over the time "
            "between two saved states. Save at more times, where the scheme starts anew, reduce "
            "the step, or use a scheme without a second state, such as Heun's."
        )
        max_steps_reached = (
            "The maximum number of steps was reached. Likely causes: a tolerance below what the "
            "precision can resolve (about 1e-6 in float32), a stiff field, or `max_steps` too "
            "small. Loosen the tolerance, use an implicit solver, or raise `max_steps`."
        )
        dt_min_reached = (
            "The step size fell to its minimum. Likely causes: a field that is stiff, "
            "discontinuous or nearly singular here, or too tight a tolerance. Loosen the "
            "tolerance, use an implicit solver, or lower `dtmin`."
        )
        nonlinear_divergence = (
            "A nonlinear solve diverged. Likely causes: an implicit solver's step too large, or a "
            "poor starting point. Reduce the step, or use a solver with a line search."
        )


def from_diffrax(result: Any) -> RESULTS:
    """A result of Diffrax, Optimistix or Lineax as a member of `RESULTS`; works when compiled.

    A member of `RESULTS` is returned as it is. **Raises:** ValueError for anything else.
    """
    return result if isinstance(result, RESULTS) else RESULTS.promote(result)


def is_okay(result: Any) -> Bool[Array, "..."]:
    """True where the solve succeeded or a terminating event ended it; works when compiled."""
    result = from_diffrax(result)
    return (result == RESULTS.successful) | (result == RESULTS.event_occurred)


def raise_if_bad(result: Any) -> None:
    """*Host.* Raises RuntimeError if a solve failed; does nothing if all went well.

    `result` is from `RESULTS` or one of the libraries `from_diffrax` knows, of any shape (a vmapped
    solve): the message says how many of how many failed of what, and where the first one is.

    **Raises:** RuntimeError; ValueError if called inside compiled code.
    """
    result = from_diffrax(result)
    if result.is_traced():
        raise ValueError(
            "`raise_if_bad` runs on the host, but was called inside jit, vmap, grad or scan. "
            "Return the result from the compiled function and check it outside; inside, use "
            "`is_okay(result)`."
        )
    (codes,) = jax.tree.leaves(result)
    bad = np.asarray(~is_okay(result))
    if bad.any():
        raise RuntimeError(_message(np.asarray(codes), bad))


def _message(codes: np.ndarray, bad: np.ndarray) -> str:
    messages = RESULTS._index_to_message  # pyright: ignore
    kinds, counts = np.unique(codes[bad], return_counts=True)
    if codes.ndim == 0:
        return messages[kinds[0]]
    order = np.argsort(-counts, kind="stable")
    lines = [f"  {counts[i]} of {codes.size}: {messages[kinds[i]]}" for i in order]
    first = tuple(int(i) for i in np.argwhere(bad)[0])
    head = f"{bad.sum()} of {codes.size} solves failed; the first is at index {first}."
    return "\n".join([head, *lines])
