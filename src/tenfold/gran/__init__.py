"""Efficient graph generation with graph recurrent attention networks (arXiv 1910.00760)."""

from tenfold.gran import baselines as baselines
from tenfold.gran import metrics as metrics
from tenfold.gran._batch import Batch as Batch
from tenfold.gran._batch import Shapes as Shapes
from tenfold.gran._batches import Batches as Batches
from tenfold.gran._bound import Bound as Bound
from tenfold.gran._bound import log_prob as log_prob
from tenfold.gran._bound import random_log_prob as random_log_prob
from tenfold.gran._generators import grid as grid
from tenfold.gran._generators import lobster as lobster
from tenfold.gran._generators import lobsters as lobsters
from tenfold.gran._graph import Graph as Graph
from tenfold.gran._graph import Graphs as Graphs
from tenfold.gran._graph import as_graph as as_graph
from tenfold.gran._likelihood import step_log_probs as step_log_probs
from tenfold.gran._model import GRAN as GRAN
from tenfold.gran._order import order as order
from tenfold.gran._sample import sample as sample
from tenfold.gran._sample import size_pmf as size_pmf
from tenfold.gran._train import loss as loss
from tenfold.gran._train import make_batch as make_batch
