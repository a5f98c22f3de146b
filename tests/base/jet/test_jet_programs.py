"""Taylor mode through whole programs: custom rules, calls, linear algebra, derivatives inside."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import pytest
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jet_reference import check_against_nested

from helpers import assert_close
from tenfold.base.jet import jet

POINT = (0.31, 0.72, 0.24, 0.55)


@jax.custom_jvp
def flattened(x):
    """tanh, whose rule says that its slope is that of sin: the rule must win."""
    return jnp.tanh(x)


flattened.defjvps(lambda dx, out, x: dx * jnp.cos(x) * out)


@jax.custom_vjp
def backward_only(x):
    return jnp.sin(x) * x


backward_only.defvjp(lambda x: (backward_only(x), x), lambda x, g: (0.0 * x * g,))


def matrix(x):
    return jnp.outer(x, x) + jnp.diag(jnp.arange(3.0, 7.0, dtype=x.dtype))


def net(x):
    return jnp.tanh(matrix(x) @ jax.nn.softplus(x))


PROGRAMS = {
    "custom_jvp": lambda x: flattened(x) * x,
    "jit": jax.jit(lambda x: jnp.sin(x) * x),
    "jit of jit": jax.jit(lambda x: jax.jit(jnp.sin)(x) * jax.jit(jnp.cos)(x)),
    "filter_jit": eqx.filter_jit(lambda x: jnp.sin(x) * x),
    "checkpoint": jax.checkpoint(lambda x: jnp.sin(x) * x),
    "filter_checkpoint": eqx.filter_checkpoint(lambda x: jax.nn.softplus(x) * x),
    "optimization barrier": lambda x: jax.lax.optimization_barrier((x * x, x))[0] * x,
    "map": lambda x: jax.lax.map(lambda a: jnp.sin(a) * x, x),
    "associative scan": lambda x: jax.lax.associative_scan(jnp.multiply, x),
    "vmap": jax.vmap(lambda a: jax.nn.softplus(a) * a),
    "solve": lambda x: jnp.linalg.solve(matrix(x), jnp.sin(x)),
    "inverse and det": lambda x: jnp.linalg.inv(matrix(x)) * jnp.linalg.det(matrix(x)),
    "slogdet": lambda x: jnp.linalg.slogdet(matrix(x))[1],
    "cholesky": lambda x: jnp.linalg.cholesky(matrix(x)),
    "triangular solve": lambda x: jax.scipy.linalg.solve_triangular(matrix(x), x),
    "triangular solve, lower, transposed, unit diagonal": lambda x: (
        jax.scipy.linalg.solve_triangular(matrix(x), x, trans=1, lower=True, unit_diagonal=True)
    ),
    "triangular solve from the right": lambda x: jax.lax.linalg.triangular_solve(
        jnp.stack([matrix(x), matrix(2 * x)]), jnp.stack([matrix(x), matrix(x)]), lower=True
    ),
    "triangular solve, complex": lambda x: jnp.abs(
        jax.lax.linalg.triangular_solve(
            jax.lax.complex(matrix(x), matrix(x * x)),
            jax.lax.complex(matrix(x), matrix(2 * x)),
            transpose_a=True,
            conjugate_a=True,
        )
    ),
    "eigvalsh": lambda x: jnp.linalg.eigvalsh(matrix(x)),
    "eigh": lambda x: jnp.linalg.eigh(matrix(x))[1] ** 2,
    "qr": lambda x: jnp.abs(jnp.linalg.qr(matrix(x))[1]),
    "singular values": lambda x: jnp.linalg.svd(matrix(x), compute_uv=False),
    "expm": lambda x: jax.scipy.linalg.expm(0.1 * jnp.outer(x, x)),
    "lineax": lambda x: lx.linear_solve(lx.MatrixLinearOperator(matrix(x)), x, throw=False).value,
    "conjugate gradients": lambda x: jax.scipy.sparse.linalg.cg(matrix(x), x, maxiter=4)[0],
    "jvp inside": lambda x: jax.jvp(net, (x,), (jnp.sin(x),))[1],
    "barrier with an integer": lambda x: (
        jax.lax.optimization_barrier((x * x, jnp.arange(4)))[0] * x
    ),
    "grad of a max pool inside": jax.grad(lambda x: jnp.sum(eqx.nn.MaxPool1d(2)(x[None] ** 3))),
    "grad inside": jax.grad(lambda x: jnp.sum(net(x) ** 2)),
    "hvp inside": lambda x: jax.jvp(jax.grad(lambda x: jnp.sum(net(x))), (x,), (x,))[1],
    "jacobian inside": lambda x: jnp.trace(jax.jacfwd(net)(x)),
    "vjp inside": lambda x: jax.vjp(net, x)[1](x)[0],
}  # fmt: skip
SHORT = {"expm": 2, "eigh": 2, "qr": 2, "singular values": 2, "hvp inside": 2}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_have_the_series_of_nested_jvps(name, x64):
    """Custom rules, calls, linear algebra and derivatives inside f."""
    check_against_nested(PROGRAMS[name], POINT, SHORT.get(name, 3))


def test_a_custom_vjp_function_is_differentiated_through_its_own_body(x64):
    """Forward mode has no use for the backward rule (a false one here), and JAX itself refuses."""
    x = jnp.asarray(POINT)
    curve = [jnp.cos(x), x, jnp.ones_like(x)]
    ours = jet(lambda x: backward_only(x) + x, (x,), (curve,))
    assert_close(ours, jet(lambda x: jnp.sin(x) * x + x, (x,), (curve,)))


def test_a_custom_rule_may_call_a_function_with_the_same_body_and_another_rule(x64):
    """outer' = inner, inner' = 3: equal values, but the series of the one is not the other's."""

    @jax.custom_jvp
    def inner(x):
        return jnp.sin(x)

    @jax.custom_jvp
    def outer(x):
        return jnp.sin(x)

    inner.defjvp(lambda primals, tangents: (inner(*primals), 3.0 * tangents[0]))
    outer.defjvp(lambda primals, tangents: (outer(*primals), inner(*primals) * tangents[0]))
    check_against_nested(outer, POINT, 3)


def test_softplus_bends_by_a_quarter_at_exactly_zero(x64):
    """Its custom rule is honoured; max and abs, of which its body is made, don't bend there.

    The derivatives of log(1 + exp) at 0 are 1/2, 1/4, 0, -1/8, 0, 1/4.
    """
    zero, one = jnp.zeros(()), jnp.ones(())
    _, series = jet(jax.nn.softplus, (zero,), ([one] + [zero] * 5,))
    assert_close(series, [0.5 * one, 0.25 * one, zero, -0.125 * one, zero, 0.25 * one])


# ---- Primitives that nobody has heard of -----------------------------------------------------


def primitive(name, implementation, jvp=None):
    made = Primitive(name)
    made.def_impl(implementation)
    made.def_abstract_eval(lambda x: x)
    mlir.register_lowering(made, mlir.lower_fun(implementation, multiple_results=False))
    batching.primitive_batchers[made] = lambda args, dims: (made.bind(*args), dims[0])
    if jvp:
        ad.primitive_jvps[made] = jvp(made)
    return made


def test_an_unknown_primitive_is_propagated_through_its_jvp(x64):
    """cubic(x) = x^3, with d cubic = 3 x^2 dx, where x^2 is computed by ordinary primitives."""

    def jvp(made):
        return lambda primals, tangents: (
            made.bind(*primals),
            3 * primals[0] ** 2 * tangents[0],
        )

    cubic = primitive("cubic", lambda x: x * x * x, jvp)
    check_against_nested(lambda x: jnp.sin(cubic.bind(x)), POINT, 4)


def test_an_unknown_primitive_may_use_itself_in_its_jvp(x64):
    """growing(x) = exp(x): its series is aliased to its own slope's, and still right."""

    def jvp(made):
        def rule(primals, tangents):
            value = made.bind(*primals)
            return value, value * tangents[0]

        return rule

    growing = primitive("growing", jnp.exp, jvp)
    check_against_nested(lambda x: growing.bind(x * x), POINT, 4)


def test_a_primitive_without_a_jvp_is_refused_by_name_and_line(x64):
    """The message names the primitive, this file, and the way out."""
    opaque = primitive("opaque", jnp.sin)
    x = jnp.asarray(POINT)
    with pytest.raises(NotImplementedError, match=r"'opaque' at .*test_jet_programs\.py:\d+.*jvp"):
        jet(lambda x: opaque.bind(x), (x,), ([x],))
    value, _ = jet(lambda x: opaque.bind(jnp.ones(4)) * x, (x,), ([x],))
    assert_close(value, jnp.sin(1.0) * x)


def test_a_callback_is_refused_by_name_and_line_too():
    x = jnp.ones(4)

    def f(x):
        return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    with pytest.raises(NotImplementedError, match="pure_callback"):
        jet(f, (x,), ([x],))
