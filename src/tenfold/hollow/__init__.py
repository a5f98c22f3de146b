"""Neural networks with cheap differential operators (arXiv 1912.03579).

Networks whose Jacobian's diagonal costs one extra pass, and what that makes exact or fast:
divergences of flows, implicit solvers, Fokker-Planck residuals.
"""

from tenfold.base.cnf import CNF as CNF
from tenfold.base.cnf import Normal as Normal
from tenfold.base.cnf import Solve as Solve
from tenfold.hollow._abm import ABM as ABM
from tenfold.hollow._attention import HollowAttention as HollowAttention
from tenfold.hollow._bdf import BDF as BDF
from tenfold.hollow._check import HollowReport as HollowReport
from tenfold.hollow._check import check_hollow as check_hollow
from tenfold.hollow._conditioner import Conditioner as Conditioner
from tenfold.hollow._conv import HollowConv2d as HollowConv2d
from tenfold.hollow._dimwise import JacobianParts as JacobianParts
from tenfold.hollow._dimwise import dimwise as dimwise
from tenfold.hollow._dimwise import dimwise_laplacian as dimwise_laplacian
from tenfold.hollow._dimwise import divergence as divergence
from tenfold.hollow._dimwise import jacobian_parts as jacobian_parts
from tenfold.hollow._dimwise import value_and_divergence as value_and_divergence
from tenfold.hollow._fit import Fitted as Fitted
from tenfold.hollow._fit import fit_path as fit_path
from tenfold.hollow._fit import fit_sde as fit_sde
from tenfold.hollow._fokker_planck import fokker_planck_residual as fokker_planck_residual
from tenfold.hollow._jacobi import Functional as Functional
from tenfold.hollow._jacobi import JacobiNewton as JacobiNewton
from tenfold.hollow._jacobi import JacobiOnly as JacobiOnly
from tenfold.hollow._jacobi import NewtonKrylov as NewtonKrylov
from tenfold.hollow._jacobi import jacobi_newton as jacobi_newton
from tenfold.hollow._leave_one_out import LeaveOneOutMLP as LeaveOneOutMLP
from tenfold.hollow._masked import MaskedMLP as MaskedMLP
from tenfold.hollow._masked import fold_masks as fold_masks
from tenfold.hollow._mixture import KnotMixture as KnotMixture
from tenfold.hollow._mixture import MixturePath as MixturePath
from tenfold.hollow._mixture import NeuralMixture as NeuralMixture
from tenfold.hollow._net import HollowNet as HollowNet
from tenfold.hollow._net import PointwiseMLP as PointwiseMLP
from tenfold.hollow._net import hollow_mlp as hollow_mlp
from tenfold.hollow._pool import ExclusivePool as ExclusivePool
from tenfold.hollow._vae import FlowVAE as FlowVAE
from tenfold.hollow._vae import flow_vae as flow_vae
