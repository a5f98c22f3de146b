"""Small Equinox networks that studies and users share."""

from tenfold.nets._dense import Dense as Dense
from tenfold.nets._dense import DenseMLP as DenseMLP
from tenfold.nets._dense import PerDimension as PerDimension
from tenfold.nets._gru import BackwardGRU as BackwardGRU
from tenfold.nets._time_mlp import TimeLinear as TimeLinear
from tenfold.nets._time_mlp import TimeMLP as TimeMLP
