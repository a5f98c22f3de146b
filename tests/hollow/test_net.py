import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from hollow_problems import KINDS, Leaky

from helpers import assert_close, count_primitives
from tenfold import base, hollow
from tenfold.hollow import (
    HollowNet,
    MaskedMLP,
    PointwiseMLP,
    dimwise,
    dimwise_laplacian,
    divergence,
    hollow_mlp,
    jacobian_parts,
)

MODES = ("taylor", "forward", "reverse")


@jax.jit
def _net(key):
    return hollow_mlp(4, 3, 8, 2, tau_width=5, tau_depth=2, key=key)


@pytest.fixture
def net(x64, getkey):
    return _net(getkey())


@pytest.fixture
def x(x64, getkey):
    return jax.random.normal(getkey(), (4,))


def dense(net, order):
    f = lambda x: net(0.3, x)  # noqa: E731
    for _ in range(order):
        f = jax.jacfwd(f)
    return f


@pytest.mark.parametrize("mode", MODES)
def test_derivatives_of_order_1_to_3_are_those_of_the_dense_tensors(mode, net, x):
    value, found = jax.jit(lambda n, x: dimwise(n, 0.3, x, order=3, mode=mode))(net, x)
    assert_close(value, net(0.3, x))
    i = np.arange(4)
    for k, derivative in enumerate(found, 1):
        whole = jax.jit(lambda n, x, k=k: dense(n, k)(x))(net, x)
        np.testing.assert_allclose(derivative, whole[(i,) * (k + 1)], rtol=1e-13, atol=1e-14)


def test_modes_agree_at_higher_order(net, x):
    run = jax.jit(
        lambda n, x: [dimwise(n, 0.3, x, order=5, mode=m)[1] for m in ("taylor", "forward")]
    )
    assert_close(*run(net, x))


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_flow_through_the_conditioner(order, net, x):
    """The stop-gradient trap: its values are right and its gradients are not."""

    def cheap(net, x):
        return jnp.sum(dimwise(net, 0.3, x, order=order)[1][-1] ** 2)

    def brute(net, x):
        i = np.arange(4)
        return jnp.sum(dense(net, order)(x)[(i,) * (order + 1)] ** 2)

    found, expected = (jax.jit(jax.grad(f, (0, 1)))(net, x) for f in (cheap, brute))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    assert max(jnp.abs(a).max() for a in jax.tree.leaves(found[0].conditioner)) > 1e-3


def test_divergence_is_the_trace_also_unasked_through_base(net, x):
    f = lambda x: net(0.3, x)  # noqa: E731
    trace = jnp.trace(jax.jit(jax.jacfwd(f))(x))
    assert_close(hollow.divergence(net, 0.3, x), trace)
    assert_close(hollow.value_and_divergence(net, 0.3, x), (f(x), trace))
    assert base.knows_jacobian_diagonal(base.vmapped(net))
    _, batched = base.value_and_divergence(base.vmapped(net), 0.3, jnp.stack([x, -x]))
    assert_close(batched[0], trace)


def test_the_laplacian_is_the_sum_of_second_derivatives(net, x):
    second = jax.jit(lambda n, x: dense(n, 2)(x))(net, x)
    assert_close(hollow.dimwise_laplacian(net, 0.3, x), jnp.einsum("iii->", second))


def test_cost_is_one_pass_through_the_conditioner(getkey):
    """Of the conditioner's products none is repeated, whatever the order."""
    net = _net(getkey())
    x = jnp.ones(4)

    def dots(f, *args):
        return count_primitives(f, *args)["dot_general"]

    inner = dots(lambda n, x: n.conditioner(0.0, x), net, x)
    whole = dots(lambda n, x: n(0.0, x), net, x)
    outer = whole - inner
    assert dots(lambda n, x: n.value_and_jacobian_diagonal(0.0, x), net, x) <= inner + 2 * outer
    assert dots(lambda n, x: dimwise(n, 0.0, x, order=3), net, x) <= inner + 4 * outer


@pytest.mark.parametrize("name", ["conv-channels", "attention", "pool-points", "masked-shallow"])
def test_states_of_any_shape(name, x64, getkey):
    shape, make = KINDS[name]

    @jax.jit
    def run(key):
        inner, outer, drawn = jax.random.split(key, 3)
        conditioner, x = make(inner), jax.random.normal(drawn, shape)
        d_h = conditioner(0.0, x).shape[1]
        net = HollowNet(conditioner, PointwiseMLP(d_h, 4, key=outer))
        _, (slopes,) = dimwise(net, 0.3, x)
        flat = jax.jacfwd(lambda v: net(0.3, v.reshape(shape)).ravel())(x.ravel())
        return slopes, jnp.diagonal(flat).reshape(shape)

    assert_close(*run(getkey()))


@pytest.mark.parametrize("size", [1, 2])
def test_one_and_two_entries(size, x64, getkey):
    @jax.jit
    def run(key):
        net, x = hollow_mlp(size, 2, 4, key=key), jnp.full(size, 0.7)
        return hollow.divergence(net, 0.1, x), jnp.trace(jax.jacfwd(lambda x: net(0.1, x))(x))

    assert_close(*run(getkey()))


def test_the_jacobian_in_two_parts(net, x):
    v = jnp.arange(4.0)

    @jax.jit
    def run(net, x):
        parts = jacobian_parts(net, 0.3, x)
        products = parts.operator.mv(v), parts.hollow.T.mv(v)
        whole = jax.jacfwd(lambda x: net(0.3, x))(x)
        return whole, parts.diagonal, parts.hollow.as_matrix(), products

    whole, diagonal, matrix, products = run(net, x)
    off = whole - jnp.diag(jnp.diag(whole))
    assert_close(diagonal, jnp.diag(whole))
    assert_close(matrix, off)
    assert (np.diagonal(matrix) == 0).all()
    assert_close(products, (whole @ v, off.T @ v))


def test_the_diagonal_preconditions_gmres(net, x):
    """On I - s J with a strong diagonal: fewer steps than without, and the same solution."""
    steep = HollowNet(net.conditioner, _Steep(net.transformer, jnp.array([1.0, 30, 300, 3000])))

    @jax.jit
    def solve(net, x):
        a, p = jacobian_parts(net, 0.3, x).implicit(0.5)
        b, gmres = jnp.ones(4), lx.GMRES(1e-10, 1e-10, restart=2, stagnation_iters=200)
        with_, without = (
            lx.linear_solve(a, b, gmres, options=o, throw=False)
            for o in ({"preconditioner": p}, {})
        )
        exact = jnp.linalg.solve(jnp.eye(4) - 0.5 * jax.jacfwd(lambda x: net(0.3, x))(x), b)
        return with_.value, exact, with_.stats["num_steps"], without.stats["num_steps"]

    value, exact, fast, slow = solve(steep, x)
    np.testing.assert_allclose(value, exact, rtol=1e-8)
    assert fast < slow


class _Steep(eqx.Module):
    inner: PointwiseMLP
    rate: jax.Array

    def __call__(self, t, x, h, args):
        return self.inner(t, x, h, args) - self.rate * x


def test_a_conditioner_that_leaks_is_refused_by_name(getkey):
    like = jnp.ones(4)
    good, tau = MaskedMLP(4, 2, 6, key=getkey()), PointwiseMLP(2, 3, key=getkey())
    HollowNet(good, tau, like=like)
    with pytest.raises(ValueError, match=r"Leaky leaks: h_0 may depend on x_0.*`add`"):
        HollowNet(Leaky(good, "residual"), tau, like=like)

    def mixing(t, x, h, args):
        return x - jnp.mean(x) + h[:, 0]

    with pytest.raises(ValueError, match="output 0 of mixing may depend on x_1"):
        HollowNet(good, mixing, like=like)


def test_wrong_input_is_refused_by_name(getkey):
    net = _net(getkey())
    with pytest.raises(ValueError, match="`order` must be at least 1"):
        dimwise(net, 0.0, jnp.ones(4), order=0)
    bad = HollowNet(lambda t, x, args: x, net.transformer)
    with pytest.raises(ValueError, match=r"`conditioner` must return \(4, d_h\)"):
        bad(0.0, jnp.ones(4))
    plain = lambda t, x, args: x**2  # noqa: E731
    for of in (dimwise, dimwise_laplacian, jacobian_parts):
        with pytest.raises(ValueError, match=rf"{of.__name__}: `net` must be a HollowNet"):
            of(plain, 0.0, jnp.ones(4))
    assert divergence(plain, 0.0, jnp.ones(4)) == 8


def test_the_dtype_is_the_states(getkey):
    for dtype in (jnp.float32, jnp.bfloat16):
        make = lambda key: hollow_mlp(3, 2, 4, dtype=dtype, key=key)  # noqa: B023, E731
        x = jax.ShapeDtypeStruct((3,), dtype)
        out = jax.eval_shape(lambda k, x: dimwise(make(k), 0.0, x, order=2), getkey(), x)  # noqa: B023
        assert {a.dtype for a in jax.tree.leaves(out)} == {jnp.dtype(dtype)}
