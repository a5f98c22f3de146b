"""Small Equinox networks that studies and users share."""

from tenfold.nets._time_mlp import TimeLinear as TimeLinear
from tenfold.nets._time_mlp import TimeMLP as TimeMLP
