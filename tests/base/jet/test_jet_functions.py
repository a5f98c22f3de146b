"""Taylor mode against nested forward mode, a row a function (float64).

A row is a name, a function of four numbers, and perhaps the order or the point. Linear algebra
and custom rules stand in `test_jet_programs`, loops in `test_jet_loops`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from jet_reference import check_against_nested

SPREAD = (-1.3, -0.4, 0.3, 1.7)
INSIDE = (0.31, 0.72, 0.24, 0.55)

ACTIVATIONS = [
    "celu", "elu", "gelu", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "identity",
    "leaky_relu", "log_sigmoid", "log_softmax", "logmeanexp", "logsumexp", "mish", "relu",
    "relu6", "selu", "sigmoid", "silu", "soft_sign", "softmax", "softplus", "sparse_plus",
    "sparse_sigmoid", "squareplus", "standardize", "swish", "tanh", "glu",
]  # fmt: skip

SMOOTH = {
    "sin": jnp.sin,
    "cos times itself": lambda x: jnp.cos(x) * x,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "log": jnp.log,
    "log1p": jnp.log1p,
    "sqrt": jnp.sqrt,
    "rsqrt": jax.lax.rsqrt,
    "cbrt": jnp.cbrt,
    "tan": jnp.tan,
    "arcsin": jnp.arcsin,
    "arccos": jnp.arccos,
    "arctan": jnp.arctan,
    "arctan2": lambda x: jnp.arctan2(x, x[::-1] + 1.0),
    "sinh and cosh": lambda x: jnp.sinh(x) * jnp.cosh(x[::-1]),
    "arctanh": jnp.arctanh,
    "hypot": lambda x: jnp.hypot(x, 2.0),
    "sinc": jnp.sinc,
    "logaddexp": lambda x: jnp.logaddexp(x, x[::-1]),
    "xlogy": lambda x: jax.scipy.special.xlogy(x, x),
    "log_ndtr": jax.scipy.special.log_ndtr,
    "erf": jax.scipy.special.erf,
    "erfc": jax.scipy.special.erfc,
    "erfinv": jax.scipy.special.erfinv,
    "lgamma": jax.lax.lgamma,
    "digamma": jax.lax.digamma,
    "bessel i0e": jax.scipy.special.i0e,
    "bessel i1e": jax.scipy.special.i1e,
    "gelu, exact": lambda x: jax.nn.gelu(x, approximate=False),
    "softmax attention": lambda x: jax.nn.softmax(jnp.outer(x, x)) @ x,
}

POWERS = {
    "x**0": lambda x: x**0 + jnp.sin(x),
    "x**1": lambda x: x**1,
    "x**2": lambda x: x**2,
    "x**3": lambda x: x**3,
    "x**7": lambda x: x**7,
    "x**-1": lambda x: x**-1,
    "x**-2": lambda x: x**-2,
    "x**-5": lambda x: x**-5,
    "x**2.5": lambda x: x**2.5,
    "x**-0.5": lambda x: x**-0.5,
    "x**x": lambda x: x**x,
    "2**x": lambda x: 2.0**x,
    "x**[2, 3]": lambda x: jnp.power(x, jnp.array([2.0, 3.0, 0.5, -1.5])),
    "x / y": lambda x: x / (x[::-1] + 2.0),
    "1 / x": lambda x: 1 / x,
    "x / 3": lambda x: x / 3.0,
    "square": jnp.square,
    "reciprocal": jax.lax.reciprocal,
}

ARRAYS = {
    "sort": lambda x: jnp.sort(x) * x,
    "sort by key": lambda x: jax.lax.sort_key_val(x, x**2)[1],
    "top_k": lambda x: jax.lax.top_k(x, 3)[0] ** 2,
    "argmax": lambda x: x[jnp.argmax(x)] * x,
    "max": lambda x: jnp.max(x) * x,
    "min": lambda x: jnp.min(x * x),
    "median": lambda x: jnp.median(x) ** 2,
    "maximum": lambda x: jnp.maximum(x, x[::-1] ** 2),
    "minimum of a literal": lambda x: jnp.minimum(x, 0.5) * x,
    "clip": lambda x: jnp.clip(x, 0.3, 0.6) * x,
    "clamp by arrays": lambda x: jax.lax.clamp(x[::-1] * 0.5, x, x[::-1] + 0.1) * x,
    "abs": lambda x: jnp.abs(x - 0.5) * x,
    "sign and floor": lambda x: jnp.sign(x - 0.5) * x + jnp.floor(5 * x) * x,
    "remainder": lambda x: (x % 0.25) * x,
    "round": lambda x: jnp.round(x) * jnp.sin(x),
    "where": lambda x: jnp.where(x > 0.5, x * x, jnp.sin(x)),
    "stop_gradient": lambda x: jax.lax.stop_gradient(x * 0.0 + 2.0) * x**2,
    "norm": jnp.linalg.norm,
    "prod": jnp.prod,
    "cumprod": jnp.cumprod,
    "cumsum": lambda x: jnp.cumsum(x) ** 2,
    "cumlogsumexp": jax.lax.cumlogsumexp,
    "cummax": lambda x: jax.lax.cummax(x) * x,
    "var": jnp.var,
    "mean and std": lambda x: jnp.mean(x) / jnp.std(x),
    "at set": lambda x: x.at[1].set(x[0] * x[2]) * x,
    "at add": lambda x: x.at[jnp.array([0, 0, 2])].add(x[1:] ** 2),
    "at mul": lambda x: x.at[jnp.array([0, 2])].mul(x[1:3], unique_indices=True),
    "at max": lambda x: x.at[jnp.array([0, 2])].max(x[1:3] ** 2),
    "filled out of bounds": lambda x: x.at[jnp.array([1, 9])].get(mode="fill", fill_value=3.0) ** 2,
    "at set, one place twice": lambda x: x.at[jnp.array([1, 1])].set(x[2:] ** 2),
    "gather": lambda x: x[jnp.array([2, 1, 1])] ** 2,
    "dynamic slice": lambda x: jax.lax.dynamic_slice(x * x, (jnp.argmax(x),), (1,)) * x,
    "dynamic update slice": lambda x: jax.lax.dynamic_update_slice(
        x, x[1:2] ** 2, (jnp.argmin(x),)
    ),
    "roll": lambda x: jnp.roll(x, 2) * x,
    "roll by a computed shift": lambda x: jnp.roll(x, jnp.argmax(x)) * x,
    "tile": lambda x: jnp.tile(x, 2) ** 2,
    "pad": lambda x: jnp.pad(x, 1, constant_values=2.0) ** 2,
    "flip, stack, concatenate": lambda x: jnp.stack(
        [jnp.concatenate([x, x]), jnp.flip(jnp.tile(x, 2))]
    ),
    "split": lambda x: jnp.multiply(*jnp.split(x, 2)),
    "transpose": lambda x: x.reshape(2, 2).T @ jnp.sin(x.reshape(2, 2)),
    "einsum": lambda x: jnp.einsum("i,j,ij->j", x, x, jnp.outer(jnp.sin(x), x)),
    "interp": lambda x: jnp.interp(x, jnp.linspace(0.0, 1.0, 5), jnp.arange(5.0) ** 2) * x,
    "polyval": lambda x: jnp.polyval(jnp.arange(4.0), x),
    "fft": lambda x: jnp.abs(jnp.fft.fft(x)) ** 2,
    "rfft and back": lambda x: jnp.fft.irfft(jnp.fft.rfft(x) ** 2),
    "complex exponential": lambda x: jnp.real(
        jnp.exp(jax.lax.complex(x, x)) / jax.lax.complex(x, x**2)
    ),
    "convolve": lambda x: jnp.convolve(x, x),
    "integers on the way": lambda x: x * jnp.floor(x * 4).astype(int).astype(x.dtype),
    "a literal in between": lambda x: 2.0 - 3.0 * (x / 2.0 + 1.0) * (0.5 - x),
    "a random factor": lambda x: x * x * jax.random.normal(jax.random.key(1), x.shape),
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_of_jax_has_the_series_of_nested_jvps(name, x64):
    """On both sides of zero."""
    check_against_nested(getattr(jax.nn, name), SPREAD, 4)


def test_no_activation_of_jax_was_forgotten():
    """The table above and `jax.nn`: whatever is no activation is named here."""
    others = {"dot_product_attention", "get_scaled_dot_general_config", "initializers", "one_hot",
              "scaled_dot_general", "scaled_matmul", "log1mexp"}  # fmt: skip
    public = {name for name in dir(jax.nn) if not name.startswith("_")}
    assert public - others <= set(ACTIVATIONS)


@pytest.mark.parametrize("f", SMOOTH.values(), ids=SMOOTH)
def test_smooth_functions_have_the_series_of_nested_jvps(f, x64):
    """Those with a recurrence of their own and those propagated through their JVP alike."""
    check_against_nested(f, INSIDE, 4)


@pytest.mark.parametrize("f", POWERS.values(), ids=POWERS)
def test_powers_and_quotients_have_the_series_of_nested_jvps(f, x64):
    check_against_nested(f, INSIDE, 5)


@pytest.mark.parametrize("f", ARRAYS.values(), ids=ARRAYS)
def test_array_functions_have_the_series_of_nested_jvps(f, x64):
    """Rearranging, choosing, reducing, indexing and transforming."""
    check_against_nested(f, INSIDE, 3)


def test_integer_powers_need_no_nonzero_base(x64):
    """x**n for n = 0..6 at 0 exactly, where the power recurrence would divide by zero."""
    check_against_nested(
        lambda x: jnp.stack([x**n + 0.0 * x for n in range(7)]), (0.0, 0.0, 0.5, -2.0), 4
    )


@pytest.mark.parametrize(("power", "order"), [(2.0, 2), (3.0, 3), (2.5, 2)])
def test_constant_powers_at_zero_are_as_good_as_those_of_nested_jvps(power, order, x64):
    """jax.jvp knows that the slope of x**2.5 at 0 is 0, and that x**2.0 bends by 2."""
    check_against_nested(lambda x: x**power, (0.0, 0.5, 1.0, 2.0), order)


def test_zero_is_no_special_case_of_a_smooth_function_written_with_a_quotient(x64):
    """sinc has a rule of its own at 0; sin(x)/(1 + x) and tanh(x)/(2 + x^2) have no pole there."""

    def f(x):
        return jnp.sinc(x) + jnp.sin(x) / (1 + x) + jnp.tanh(x) / (2 + x * x)

    check_against_nested(f, (0.0, 0.0, 0.5, 1.0), 4)


def test_layers_of_equinox_have_the_series_of_nested_jvps(x64, getkey):
    """Convolution, layer norm and attention in one net of four numbers."""
    conv = eqx.nn.Conv2d(1, 2, 2, padding=1, dtype=jnp.float64, key=getkey())
    norm = eqx.nn.LayerNorm(9, dtype=jnp.float64)
    attention = eqx.nn.MultiheadAttention(1, 9, dtype=jnp.float64, key=getkey())

    def f(x):
        h = jax.vmap(norm)(conv(x.reshape(1, 2, 2)).reshape(2, 9))
        return attention(h, h, h).ravel()

    check_against_nested(f, INSIDE, 3)


@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_an_mlp_has_the_series_of_nested_jvps(activation, x64, getkey):
    """Both activations hide behind custom_jvp; relu is the default of `eqx.nn.MLP`."""
    options = {} if activation == "relu" else {"activation": jax.nn.softplus}
    net = eqx.nn.MLP(4, 4, 5, 2, dtype=jnp.float64, key=getkey(), **options)
    check_against_nested(net, SPREAD, 4)


POOLS = {"max": eqx.nn.MaxPool1d(2), "average": eqx.nn.AvgPool1d(2)}


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_pools_have_the_series_of_nested_jvps(pool, x64):
    check_against_nested(lambda x: pool(x[None]) ** 2, INSIDE, 3)
