"""Efficient graph generation with graph recurrent attention networks (arXiv 1910.00760)."""

from tenfold.gran import metrics as metrics
from tenfold.gran._graph import Graph as Graph
from tenfold.gran._graph import Graphs as Graphs
from tenfold.gran._graph import as_graph as as_graph
