"""Shared words and calculus: types, differential operators, distributions, Monte Carlo, results."""

from tenfold.base._wrappers import knows_jacobian_diagonal as knows_jacobian_diagonal
from tenfold.base._wrappers import reversed_time as reversed_time
from tenfold.base._wrappers import vmapped as vmapped
from tenfold.base.diffops import Exact as Exact
from tenfold.base.diffops import Hutchinson as Hutchinson
from tenfold.base.diffops import gradient_and_laplacian as gradient_and_laplacian
from tenfold.base.diffops import hvp as hvp
from tenfold.base.diffops import jacobian_diagonal as jacobian_diagonal
from tenfold.base.diffops import laplacian as laplacian
from tenfold.base.diffops import value_and_divergence as value_and_divergence
from tenfold.base.diffops import value_and_jacobian_diagonal as value_and_jacobian_diagonal
from tenfold.base.dists import bernoulli_kl as bernoulli_kl
from tenfold.base.dists import bernoulli_log_prob as bernoulli_log_prob
from tenfold.base.dists import categorical_kl as categorical_kl
from tenfold.base.dists import categorical_log_prob as categorical_log_prob
from tenfold.base.dists import normal_kl as normal_kl
from tenfold.base.dists import normal_log_prob as normal_log_prob
from tenfold.base.mc import Moments as Moments
from tenfold.base.mc import logmeanexp as logmeanexp
from tenfold.base.mc import moments_init as moments_init
from tenfold.base.mc import moments_merge as moments_merge
from tenfold.base.mc import moments_of as moments_of
from tenfold.base.mc import moments_update as moments_update
from tenfold.base.mc import normal_like as normal_like
from tenfold.base.mc import rademacher_like as rademacher_like
from tenfold.base.results import RESULTS as RESULTS
from tenfold.base.results import from_diffrax as from_diffrax
from tenfold.base.results import is_okay as is_okay
from tenfold.base.results import raise_if_bad as raise_if_bad
from tenfold.base.typing import Key as Key
from tenfold.base.typing import LogDensity as LogDensity
from tenfold.base.typing import Loss as Loss
from tenfold.base.typing import RealLike as RealLike
from tenfold.base.typing import RealScalarLike as RealScalarLike
from tenfold.base.typing import Scalar as Scalar
from tenfold.base.typing import Score as Score
from tenfold.base.typing import State as State
from tenfold.base.typing import VectorField as VectorField

# Taylor mode (tenfold.base.jet):
