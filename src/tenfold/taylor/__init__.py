"""Differential equations that are easy to solve (arXiv 2007.04504).

Derivatives of ODE solutions of any order in Taylor mode, the regulariser R_K that makes learned
dynamics cheap for adaptive solvers, and the count of what they cost.
"""

from tenfold.base.jet import jet as jet
from tenfold.base.nfe import CountStart as CountStart
from tenfold.base.nfe import EvalCounter as EvalCounter
from tenfold.base.nfe import count_nfe as count_nfe
from tenfold.taylor._coefficients import Coefficients as Coefficients
from tenfold.taylor._coefficients import taylor_coefficients as taylor_coefficients
from tenfold.taylor._coefficients import total_derivative_norm as total_derivative_norm
from tenfold.taylor._coefficients import total_derivatives as total_derivatives
from tenfold.taylor._regularise import AbstractRegulariser as AbstractRegulariser
from tenfold.taylor._regularise import JacFrobReg as JacFrobReg
from tenfold.taylor._regularise import KineticReg as KineticReg
from tenfold.taylor._regularise import Quadrature as Quadrature
from tenfold.taylor._regularise import SpeedReg as SpeedReg
from tenfold.taylor._regularise import penalty as penalty
from tenfold.taylor._solve import AugmentedTerm as AugmentedTerm
from tenfold.taylor._solve import StepQuadrature as StepQuadrature
from tenfold.taylor._solve import solve_regularised as solve_regularised
