"""A user's own graphs: a folder of GraphML files or edge lists, a graph a file."""

from pathlib import Path
from typing import Any

from tenfold.lab.data._edge_lists import read_edges
from tenfold.lab.data._files import DataError
from tenfold.lab.data._graphml import read_graphml
from tenfold.lab.data._graphs import GraphSet

GRAPHML = (".graphml", ".xml")
EDGE_LISTS = (".edges", ".edgelist", ".csv", ".tsv", ".txt")


def load(
    folder: str | Path,
    *,
    n_max: int | None = None,
    node_label: str | None = None,
    edge_label: str | None = None,
) -> GraphSet:
    """The graphs of a folder, in the order of their files' names.

    GraphML (.graphml, .xml), a graph a file; or edge lists (.edges, .edgelist, .csv, .tsv, .txt):
    a line an edge, two names of nodes parted by commas, tabs or blanks (one of them in the whole
    file), then numbers or {...} perhaps, which are left out, as is a first line that names the
    columns. `#` or `%` begins a comment. An edge list can't tell of nodes without edges. Other
    files are left out.

    `n_max` refuses larger graphs; `node_label` and `edge_label` name GraphML attributes that hold
    whole numbers from 0. Raises DataError naming the file for no graph, a directed one, self-loops,
    a graph that is too large, and for a folder without graphs.
    """
    found = files(folder)
    graphs = tuple(read(path, node_label=node_label, edge_label=edge_label) for path in found)
    for path, graph in zip(found, graphs):
        if n_max is not None and graph.n_nodes > n_max:
            raise DataError(f"{path} has {graph.n_nodes} nodes, more than the {n_max} allowed")
    return GraphSet(graphs)


def files(folder: str | Path) -> list[Path]:
    """The files of a folder that hold its graphs, by name; DataError if there are none."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    known = GRAPHML + EDGE_LISTS
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in known and p.is_file())
    if not found:
        raise DataError(f"{folder} holds no graphs: no file ends in {', '.join(known)}")
    return found


def read(path: Path, *, node_label: str | None = None, edge_label: str | None = None) -> Any:
    """The `tenfold.gran.Graph` of one file; DataError if there is none."""
    from tenfold.gran import as_graph

    markup = path.suffix.lower() in GRAPHML
    try:
        if markup:
            found = as_graph(read_graphml(path), node_label=node_label, edge_label=edge_label)
        else:
            found = as_graph(read_edges(path))
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: {error}") from error
    if not found.n_nodes:
        raise DataError(f"{path}: the graph has no nodes")
    return found


def write(graphs: Any, folder: str | Path) -> list[Path]:
    """Each graph as `graph-0000.graphml` and so on in `folder`, which is made; their paths."""
    import networkx

    folder = Path(folder).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, graph in enumerate(graphs):
        paths.append(folder / f"graph-{i:04}.graphml")
        networkx.write_graphml_xml(graph.to_networkx(), paths[-1])
    return paths
