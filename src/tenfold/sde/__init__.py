"""Scalable gradients for stochastic differential equations (arXiv 2001.01328)."""

from tenfold.sde._backsolve import Backsolve as Backsolve
from tenfold.sde._exact import Exact as Exact
from tenfold.sde._gradients import Checkpoint as Checkpoint
from tenfold.sde._gradients import Store as Store
from tenfold.sde._methods import EulerHeun as EulerHeun
from tenfold.sde._methods import EulerMaruyama as EulerMaruyama
from tenfold.sde._methods import Heun as Heun
from tenfold.sde._methods import Midpoint as Midpoint
from tenfold.sde._methods import Milstein as Milstein
from tenfold.sde._methods import ReversibleHeun as ReversibleHeun
from tenfold.sde._noise import GridNoise as GridNoise
from tenfold.sde._noise import Increment as Increment
from tenfold.sde._sde import SDE as SDE
from tenfold.sde._sde import to_ito as to_ito
from tenfold.sde._sde import to_stratonovich as to_stratonovich
from tenfold.sde._solve import Solution as Solution
from tenfold.sde._solve import sdesolve as sdesolve
from tenfold.sde._srk import SRK as SRK
