"""ODEs with known solutions, shared by all tests.

Add a row to `PROBLEMS` and every test parametrised over it runs on the new problem.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import expm

Derivatives = Callable[[int], list[np.ndarray]]


@dataclass(frozen=True)
class Problem:
    """An initial value problem y' = field(t, y), y(t0) = y0, solved in closed form to t1."""

    name: str
    field: Callable[[Any, jax.Array, Any], jax.Array]
    """`(t, y, args) -> dy/dt` in Diffrax's convention, in y's dtype."""
    y0: tuple[float, ...]
    exact: Callable[[float], np.ndarray]
    """Solution at t, in float64."""
    derivatives: Derivatives
    """`order -> [y', y'', ..., y^(order)]` at (t0, y0): total derivatives along the solution."""
    source: str
    t0: float = 0.0
    t1: float = 1.0
    speed: Callable[[int], float] | None = None
    """`K -> R_K = integral over [t0, t1] of the mean over entries of (y^(K))^2`, where known."""

    def start(self, dtype: Any = jnp.float64) -> jax.Array:
        return jnp.asarray(self.y0, dtype)


def _linear(matrix: np.ndarray) -> Callable:
    return lambda t, y, args: jnp.asarray(matrix, y.dtype) @ y


def _powers(matrix: np.ndarray, y0: tuple) -> Derivatives:
    return lambda order: [
        np.linalg.matrix_power(matrix, k) @ np.asarray(y0) for k in range(1, order + 1)
    ]


def _squared() -> Problem:
    z0 = 0.5
    return Problem(
        name="z' = z^2",
        field=lambda t, z, args: z**2,
        y0=(z0,),
        exact=lambda t: np.array([z0 / (1 - z0 * t)]),
        derivatives=lambda order: [
            np.array([math.factorial(k) * z0 ** (k + 1)]) for k in range(1, order + 1)
        ],
        source="Separation of variables; y^(k) = k! z^(k+1) by induction. Blows up at t = 1/z0.",
    )


def _tangent_numbers(order: int) -> list[np.ndarray]:
    # y^(k) = P_k(tan t) with P_0(z) = z, P_{k+1}(z) = P_k'(z) (1 + z^2).
    one_plus_square = np.polynomial.Polynomial([1.0, 0.0, 1.0])
    polynomial, values = np.polynomial.Polynomial([0.0, 1.0]), []
    for _ in range(order):
        polynomial = polynomial.deriv() * one_plus_square
        values.append(np.array([polynomial(0.0)]))
    return values


def _tangent() -> Problem:
    return Problem(
        name="z' = 1 + z^2",
        field=lambda t, z, args: 1 + z**2,
        y0=(0.0,),
        exact=lambda t: np.array([math.tan(t)]),
        derivatives=_tangent_numbers,
        source="z = tan t; the tangent numbers 1, 0, 2, 0, 16, 0, 272 (OEIS A000182).",
    )


def _matrix() -> Problem:
    matrix = np.array([[-1.0, 2.0, 0.5], [0.0, -0.5, 1.0], [0.3, 0.0, -2.0]])
    y0 = (1.0, -0.5, 2.0)
    return Problem(
        name="z' = A z",
        field=_linear(matrix),
        y0=y0,
        exact=lambda t: expm(matrix * t) @ np.asarray(y0),
        derivatives=_powers(matrix, y0),
        source="z = expm(A t) z0, y^(k) = A^k z0; A is not normal.",
    )


def _rotation() -> Problem:
    omega, y0 = 2.0, (1.0, 0.5)
    matrix = np.array([[0.0, -omega], [omega, 0.0]])
    c, s = lambda t: math.cos(omega * t), lambda t: math.sin(omega * t)
    return Problem(
        name="rotation",
        field=_linear(matrix),
        y0=y0,
        exact=lambda t: np.array([[c(t), -s(t)], [s(t), c(t)]]) @ np.asarray(y0),
        derivatives=_powers(matrix, y0),
        source="Skew 2x2 of frequency w: |z| is conserved, so R_K = w^(2K) |z0|^2 / 2 for D = 2.",
        speed=lambda k: omega ** (2 * k) * (y0[0] ** 2 + y0[1] ** 2) / 2,
    )


def _exponential() -> Problem:
    a = 0.7
    return Problem(
        name="z' = a z",
        field=lambda t, z, args: a * z,
        y0=(1.0,),
        exact=lambda t: np.array([math.exp(a * t)]),
        derivatives=lambda order: [np.array([a**k]) for k in range(1, order + 1)],
        source="z = exp(a t); R_K = a^(2K - 1) (exp(2 a) - 1)/2 over [0, 1].",
        speed=lambda k: a ** (2 * k - 1) * (math.exp(2 * a) - 1) / 2,
    )


def _forced() -> Problem:
    z0 = 3.0
    return Problem(
        name="z' = z + t",
        field=lambda t, z, args: z + jnp.asarray(t, z.dtype),
        y0=(z0,),
        exact=lambda t: np.array([(z0 + 1) * math.exp(t) - t - 1]),
        derivatives=lambda order: [np.array([z0 if k == 0 else z0 + 1]) for k in range(order)],
        source="Variation of constants; 3, 4, 4, 4 (without the time's own series: 3, 3, 3, 3).",
    )


def _quadratic_time() -> Problem:
    t0, z0 = 0.5, 1.2

    def derivatives(order: int) -> list[np.ndarray]:
        # Leibniz on t^2 z: z^(n+1) = t^2 z^(n) + 2 n t z^(n-1) + n (n - 1) z^(n-2).
        z = [z0]
        for n in range(order):
            terms = [t0**2 * z[n]]
            terms += [2 * n * t0 * z[n - 1]] if n >= 1 else []
            terms += [n * (n - 1) * z[n - 2]] if n >= 2 else []
            z.append(sum(terms))
        return [np.array([value]) for value in z[1:]]

    return Problem(
        name="z' = t^2 z",
        field=lambda t, z, args: jnp.asarray(t, z.dtype) ** 2 * z,
        y0=(z0,),
        exact=lambda t: np.array([z0 * math.exp((t**3 - t0**3) / 3)]),
        derivatives=derivatives,
        source="Separation of variables; derivatives by Leibniz' rule.",
        t0=t0,
        t1=1.5,
    )


def _cubic_time() -> Problem:
    return Problem(
        name="z' = 3 t^2",
        field=lambda t, z, args: 3 * jnp.asarray(t, z.dtype) ** 2 + jnp.zeros_like(z),
        y0=(0.25,),
        exact=lambda t: np.array([0.25 + t**3]),
        derivatives=lambda order: [np.array([6.0 if k == 3 else 0.0]) for k in range(1, order + 1)],
        source="z = z0 + t^3, a polynomial, so R_4 = 0; R_3 = 36, R_2 = 12, R_1 = 9/5.",
        speed=lambda k: {1: 9 / 5, 2: 12.0, 3: 36.0}.get(k, 0.0),
    )


PROBLEMS = (
    _squared(),
    _tangent(),
    _matrix(),
    _rotation(),
    _exponential(),
    _forced(),
    _quadratic_time(),
    _cubic_time(),
)
