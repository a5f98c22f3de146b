"""How alike two sets of graphs are; any two lists of networkx graphs will do. *Host.*"""

from tenfold.gran._histograms import clustering as clustering
from tenfold.gran._histograms import degree as degree
from tenfold.gran._histograms import orbit4 as orbit4
from tenfold.gran._histograms import spectral as spectral
from tenfold.gran._isomorphism import isomorphic as isomorphic
from tenfold.gran._isomorphism import novel as novel
from tenfold.gran._isomorphism import unique as unique
from tenfold.gran._isomorphism import validity_lobster as validity_lobster
from tenfold.gran._mmd import EARTH_MOVER as EARTH_MOVER
from tenfold.gran._mmd import TOTAL_VARIATION as TOTAL_VARIATION
from tenfold.gran._mmd import Interval as Interval
from tenfold.gran._mmd import Statistic as Statistic
from tenfold.gran._mmd import compare as compare
from tenfold.gran._mmd import earth_mover as earth_mover
from tenfold.gran._mmd import euclidean as euclidean
from tenfold.gran._mmd import mmd as mmd
from tenfold.gran._mmd import mmd_interval as mmd_interval
from tenfold.gran._mmd import total_variation as total_variation
from tenfold.gran._orbits import orbits as orbits
