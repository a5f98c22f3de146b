"""Taylor mode: how truncated power series move through any JAX function."""

from tenfold.base.jet._api import Tower as Tower
from tenfold.base.jet._api import jet as jet
