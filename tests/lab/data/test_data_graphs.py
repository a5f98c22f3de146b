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


OWN = {
    "no graph": ("g.graphml", "<html>", "g.graphml: this is no GraphML"),
    "directed": ("g.graphml", nx.DiGraph([(0, 1)]), "directed"),
    "loop": ("g.graphml", nx.Graph([(0, 0)]), "self-loop"),
    "loop in a list": ("g.edges", "a a\n", "self-loop"),
    "one word": ("g.edges", "a b\nc\n", "line 2, 'c', names one node"),
    "empty": ("g.edges", "", "the graph has no nodes"),
    "binary": ("g.txt", b"\xff\xfe\x00", "g.txt"),
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
