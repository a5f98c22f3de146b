"""Sets of graphs: splits, the TU Dortmund format in both of its wrappings, a user's own files."""

import gzip
import io
import zipfile

import networkx as nx
import numpy as np
import pytest
from made_files import lay

from tenfold.lab import data
from tenfold.lab.data import (
    DataError,
    dd,
    firstmm_db,
    graph_files,
    grids,
    lobsters,
    proteins,
)

TEXTS = {
    "A": "1, 2\n2, 1\n2, 3\n3, 2\n4, 5\n5, 4\n5, 5\n",
    "graph_indicator": "1\n1\n1\n2\n2\n2\n",
    "graph_labels": "3\n-1\n",
    "node_labels": "7\n5\n7\n9\n5\n5\n",
}


def zipped(prefix, **changed):
    texts = TEXTS | changed
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in texts.items():
            if text is not None:
                archive.writestr(f"{prefix}/{prefix}_{name}.txt", text)
    return buffer.getvalue()


def test_a_zip_is_read(folder):
    """Node 6 has no edge and stays; the loop at node 5 goes, and is counted."""
    lay(folder / "proteins", {"PROTEINS.zip": zipped("PROTEINS")})
    found = proteins.load()
    assert [g.n_nodes for g in found.graphs] == [3, 3]
    assert [g.edges.tolist() for g in found.graphs] == [[[1, 0], [2, 1]], [[1, 0]]]
    assert [g.node_labels.tolist() for g in found.graphs] == [[1, 0, 1], [2, 0, 0]]
    assert found.labels.tolist() == [3, -1]
    assert found.loops == 1


def test_sizes_are_chosen(folder):
    lay(folder / "dd", {"DD.zip": zipped("DD", graph_indicator="1\n1\n1\n1\n1\n2\n", A="1, 2\n")})
    assert [g.n_nodes for g in dd.load(least=2).graphs] == [5]


def test_text_files_are_read(folder, tweak):
    entry = data._catalogue.entry("firstmm_db")
    files = tuple(data._files.File(f.name, f.most) for f in entry.instead)
    tweak("firstmm_db", instead=files)
    texts = {f"FIRSTMM_DB_{k}.txt": v.encode() for k, v in TEXTS.items() if k != "node_labels"}
    packed = {f"{k}.gz": gzip.compress(v) for k, v in texts.items() if "labels" not in k}
    named = {"FIRSTMM_DB_graph_labels.txt": texts["FIRSTMM_DB_graph_labels.txt"]}
    lay(folder / "firstmm_db", packed | named)
    assert [g.n_edges for g in firstmm_db.load().graphs] == [2, 1]


def test_a_download_is_read_and_recorded(server, tweak):
    tweak("proteins", homes=(server.address,))
    server.files["/PROTEINS.zip"] = zipped("PROTEINS")
    assert len(proteins.load().graphs) == 2
    (check,) = data.check(["proteins"])
    assert check.says == "unverified (recorded at first download)"


WRONG = {
    "missing": ({"A": None}, "PROTEINS_A.txt is missing"),
    "words": ({"A": "1, x\n"}, "2 whole numbers a line"),
    "one column": ({"A": "1\n"}, "2 whole numbers a line"),
    "no such node": ({"A": "1, 9\n"}, "names a node beyond the 6"),
    "between graphs": ({"A": "1, 4\n"}, "joins nodes of different graphs"),
    "mixed": ({"graph_indicator": "2\n1\n1\n2\n2\n2\n"}, "does not number graphs from 1"),
    "labels": ({"graph_labels": "1\n"}, "has 1 lines, not 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_damaged_set_is_refused(folder, name):
    changed, message = WRONG[name]
    lay(folder / "proteins", {"PROTEINS.zip": zipped("PROTEINS", **changed)})
    with pytest.raises(DataError, match=message):
        proteins.load()


def test_the_official_split_of_grids_holds_out_the_largest():
    """Mean sizes as measured in the authors' code: 195.75 and 268.25."""
    means = [
        np.mean([g.n_nodes for g in grids.load(part, split="official").graphs])
        for part in ("all", "train", "test")
    ]
    assert means == [210.25, 195.75, 268.25]


def test_a_shuffled_split_is_of_its_seed_and_misses_none():
    def codes(part, seed):
        return [(g.n_nodes, g.n_edges) for g in grids.load(part, seed, most=13).graphs]

    assert sorted(codes("train", 1) + codes("test", 1)) == sorted(codes("all", 0))
    assert codes("train", 1) == codes("train", 1) != codes("train", 2)
    assert len(codes("test", 1)) == 4


def test_lobsters_are_of_their_seed():
    first, again, other = (lobsters.load(seed=s, count=5) for s in (0, 0, 1))
    sizes = [[g.n_nodes for g in s.graphs] for s in (first, again, other)]
    assert sizes[0] == sizes[1] != sizes[2]


def test_a_users_folder_is_read(tmp_path):
    nx.write_graphml_xml(nx.path_graph(4), tmp_path / "b.graphml")
    (tmp_path / "a.csv").write_text("# who, whom\nann,bob\nbob,eve,0.5\n\n")
    (tmp_path / "notes.md").write_text("nothing")
    graphs = graph_files.load(tmp_path).graphs
    assert [g.n_nodes for g in graphs] == [3, 4]
    assert [g.n_edges for g in graphs] == [2, 3]


def test_what_is_written_is_read_again(tmp_path):
    graph = nx.path_graph(3)
    nx.set_node_attributes(graph, {0: 1, 1: 0, 2: 2}, "label")
    from tenfold.gran import as_graph

    first = as_graph(graph, node_label="label")
    (path,) = graph_files.write([first], tmp_path / "out")
    assert path.name == "graph-0000.graphml"
    again = graph_files.read(path, node_label="label")
    assert np.array_equal(again.edges, first.edges)
    assert again.node_labels.tolist() == [1, 0, 2]


EDGES = {
    "a mark of Excel's": ("g.csv", "\ufeff1,2\n2,1\n1,3\n", (3, 2)),
    "names of columns": ("g.csv", "source,target\n1,2\n2,3\n", (3, 2)),
    "other names above numbers": ("g.csv", "person,friend\n1,2\n2,3\n", (3, 2)),
    "nodes that are called so": ("g.txt", "u v\nv w\n", (3, 2)),
    "columns of Gephi's": ("g.csv", "Source,Target,Type,Id\n1,2,Undirected,0\n", (2, 1)),
    "comments of KONECT's": ("g.edges", "% sym unweighted\n% 3 3 3\n1 2\n2 3\n", (3, 2)),
    "numbers after the names": ("g.edges", "1 2 0.5 1082040961\n2 3 1e-3 7\n", (3, 2)),
    "attributes of networkx's": ("g.txt", "0 1 {'w': 3, 'c': 'x y'}\n1 2 {}\n", (3, 2)),
    "blanks in names": ("g.csv", "New York,Boston\nNew Haven, Boston\n", (3, 2)),
    "tabs": ("g.tsv", "New York\tBoston\nBoston\tLos Angeles\t3\n", (3, 2)),
    "commas in names": ("g.csv", '"Smith, J","Doe, A"\n"Doe, A",Bob\n', (3, 2)),
    "a sign of comments in a name": ("g.txt", "a#1 a#2\na#2 a#3 # why\n", (3, 2)),
}


@pytest.mark.parametrize("name", EDGES)
def test_edge_lists_as_programs_write_them_are_read(tmp_path, name):
    file, content, sizes = EDGES[name]
    (tmp_path / file).write_text(content, "utf-8")
    graph = graph_files.read(tmp_path / file)
    assert (graph.n_nodes, graph.n_edges) == sizes


def graphml(inside, head=""):
    space = "http://graphml.graphdrawing.org/xmlns"
    return f'<?xml version="1.0"?><graphml xmlns="{space}">{head}{inside}</graphml>'


def drawn(inside):
    return f'<graph edgedefault="undirected">{inside}</graph>'


A, B = '<node id="a"/>', '<node id="b"/>'
EDGE = '<edge source="a" target="b"/>'


def test_attributes_without_a_type_are_not_remarked_on(tmp_path, recwarn):
    key = '<key id="d0" for="node" attr.name="w"/>'
    (tmp_path / "g.graphml").write_text(graphml(drawn(A + B + EDGE), key))
    assert graph_files.read(tmp_path / "g.graphml").n_edges == 1
    assert not recwarn.list


OWN = {
    "no graph": ("g.graphml", "<html>", "g.graphml: this is no GraphML"),
    "directed": ("g.graphml", nx.DiGraph([(0, 1)]), "directed"),
    "loop": ("g.graphml", nx.Graph([(0, 0)]), "self-loop"),
    "loop in a list": ("g.edges", "a a\n", "self-loop"),
    "one word": ("g.edges", "a b\nc\n", "line 2, 'c', names one node"),
    "empty": ("g.edges", "", "the graph has no nodes"),
    "binary": ("g.txt", b"\xff\xfe\x00", "g.txt: this is no text in UTF-8"),
    "zeros": ("g.txt", b"\x00\x01 \x02\n", "g.txt: .* holds NUL bytes"),
    "prose": ("g.txt", "These are graphs\nof towns\n", "line 1, 'These are graphs', is no edge"),
    "a comma in prose": ("g.txt", "Hello, you\nall of us\n", "line 2, 'all of us', names one"),
    "columns without a name": ("g.csv", "a,b\nb,c,red\n", "line 2, .* 'red' is neither"),
    "only names of columns": ("g.csv", "source,target\n", "the graph has no nodes"),
    "directed in Gephi": ("g.csv", "Source,Target,Type\n1,2,Directed\n", "line 2, .*is directed"),
    "semicolons": ("g.csv", "1;2\n2;3\n", "line 1, '1;2', parts words otherwise"),
    "a comma in a number": ("g.txt", "1 2 0,5\n", "line 1, '1 2 0,5', parts words otherwise"),
    "a matrix": ("g.csv", "0,1,0\n1,0,1\n0,1,0\n", "an adjacency matrix of 3 nodes"),
    "a matrix with names": ("g.csv", "a,b,c\n0,1,0\n1,0,1\n0,1,0\n", "an adjacency matrix"),
    "a sparse matrix": ("g.txt", "%%MatrixMarket matrix\n3 3 1\n2 1\n", "MatrixMarket"),
    "no target": ("g.graphml", graphml(drawn(A + '<edge source="a"/>')), "joins a and None"),
    "no such node": ("g.graphml", graphml(drawn(A + EDGE)), "g.graphml: .*joins a and b"),
    "no name": ("g.graphml", graphml(drawn("<node/>")), "each node needs an `id`"),
    "two graphs": ("g.graphml", graphml(drawn(A) + drawn(B)), "g.graphml: it holds 2 graphs"),
    "nested": ("g.xml", graphml(drawn(f'<node id="a">{drawn(B)}</node>')), "holds 2 graphs"),
    "no graph at all": ("g.graphml", graphml(""), "this is no GraphML: it holds no graph"),
    "encoding": ("g.xml", '<?xml version="1.0" encoding="foo"?><graphml/>', "unknown encoding"),
    "large": ("g.edges", "a b\nb c\nc d\nd e\n", "5 nodes, more than the 4 allowed"),
    "nothing": ("g.md", "a b", "holds no graphs"),
}


@pytest.mark.parametrize("name", OWN)
def test_a_users_mistake_is_one_message(tmp_path, name):
    file, content, message = OWN[name]
    path = tmp_path / file
    if isinstance(content, nx.Graph):
        nx.write_graphml_xml(content, path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        graph_files.load(tmp_path, n_max=4)


def test_a_folder_that_is_none_is_said(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        graph_files.load(tmp_path / "absent")
