"""log_prob is a likelihood: it sums to one over matrices, and bounds a graph's over orders."""

import math
from itertools import pairwise, permutations

import equinox as eqx
import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from graph_problems import all_graphs, log_probs, random_graph

from helpers import assert_close, finite_difference
from tenfold import gran
from tenfold.gran._batch import Part, assemble, needed
from tenfold.gran._windows import windows

SIZES = [(1, 1), (2, 2), (2, 1), (3, 1)]


def small(key, **options):
    sizes = {"n_max": 6, "hidden": 8, "rounds": 2, "mixtures": 3, "gate": 4, "max_block": 3}
    return gran.GRAN(key=key, **{**sizes, "dtype": jnp.float64, **options})


@pytest.mark.parametrize(("block", "stride"), SIZES)
def test_all_matrices_of_four_nodes_sum_to_one(x64, getkey, block, stride):
    model = small(getkey(), density=0.3)
    total = np.exp(log_probs(model, list(all_graphs(4)), block, stride)).sum()
    assert abs(total - 1) < 1e-10


def test_labelled_conditioned_and_windowed_matrices_sum_to_one(x64, getkey):
    labelled = small(getkey(), edge_kinds=2, node_kinds=2, condition_size=2)
    graphs = list(all_graphs(3, kinds=2, labels=2))
    total = np.exp(log_probs(labelled, graphs, 2, 1, np.array([0.3, -1.0]))).sum()
    assert abs(total - 1) < 1e-10
    windowed = small(getkey(), window=2)
    near = [g for g in all_graphs(4) if not (g.edges[:, 0] - g.edges[:, 1] > 2).any()]
    assert len(near) == 32
    assert abs(np.exp(log_probs(windowed, near, 2, 2)).sum() - 1) < 1e-10


def test_a_window_that_holds_all_changes_the_numbering_of_columns_alone(x64, getkey):
    """Row i, distance d is column i - d - 1: the last node's row has them all, turned round."""
    key = getkey()
    model = small(key, window=5)
    plain = small(key, n_max=5)
    graph = gran.as_graph(nx.path_graph(5))
    # On a path, L_ij is 1 at distance 1: one vector for all rows.
    same = jnp.broadcast_to(model.column[:, :1], plain.column.shape)
    plain = eqx.tree_at(lambda m: m.column, plain, same)
    assert_close(*[gran.log_prob(m, graph, ("default",), block=2).value for m in (model, plain)])


def dense_log_prob(model, graph, block, stride):
    """The method's equations, node by node and edge by edge, with no packing."""
    adjacency, n, total = graph.dense(), graph.n_nodes, 0.0
    for t in windows(n, block, stride):
        stop = min(t + block, n)
        nodes, new = range(stop), range(t, stop)
        h = [jnp.zeros(model.hidden) for _ in nodes]
        for i in range(t):
            columns = [model.column[0, j] for j in range(i) if adjacency[i, j]]
            h[i] = sum(columns, jnp.zeros(model.hidden)) + model.offset
        place = [0 if i < t else i - t + 1 for i in nodes]
        for r in range(model.rounds.first.shape[0]):
            layer = jax.tree.map(lambda x, r=r: x[r], model.rounds)
            fresh = []
            for i in nodes:
                total_in = jnp.zeros(model.hidden)
                for j in nodes:
                    if i != j and (adjacency[i, j] or i in new or j in new):
                        if i not in new and j not in new and not adjacency[i, j]:
                            continue
                        first = (h[j] - h[i]) @ layer.first
                        first = first + layer.sent[place[j]] + layer.received[place[i]]
                        active = jax.nn.relu(first)
                        m = layer.message(active[: model.hidden])
                        g = jax.nn.sigmoid(layer.gate(active[model.hidden :]))
                        total_in = total_in + m * g
                fresh.append(layer.update(total_in, h[i]))
            last = r == model.rounds.first.shape[0] - 1
            h = fresh if last else [jax.nn.relu(x) for x in fresh]
        kept = stop if stop == n else t + stride
        shares, parts = [], jnp.zeros(model.mixtures)
        for i in new:
            for j in range(i):
                first = (h[i] - h[j]) @ model.head.first + model.head.bias
                shares.append(model.head.share(first[model.hidden :]))
                logits = model.head.edge(first[: model.hidden])
                p = jax.nn.log_sigmoid(logits if adjacency[i, j] else -logits)
                parts = parts + (p if i < kept else 0)
        share = sum(shares) / len(shares) if shares else jnp.zeros(model.mixtures)
        total = total + jax.nn.logsumexp(jax.nn.log_softmax(share) + parts)
    return total


@pytest.mark.parametrize(("block", "stride"), [(1, 1), (3, 2)])
def test_packed_steps_equal_the_equations(x64, getkey, block, stride):
    model = small(getkey())
    graph = gran.as_graph(random_graph(5, 0.6, 3))
    with jax.disable_jit():
        expected = dense_log_prob(model, graph, block, stride)
    found = gran.log_prob(model, graph, ("default",), block=block, stride=stride)
    assert_close(found.value, expected)


def test_padding_and_company_change_nothing(x64, getkey):
    """A graph alone equals the same one among others, in arrays of other sizes."""
    model = small(getkey(), n_max=8)
    graphs = [gran.as_graph(random_graph(n, 0.5, n)) for n in (3, 8, 5)]
    together = log_probs(model, graphs, 2, 1)
    alone = [log_probs(model, [graph], 2, 1)[0] for graph in graphs]
    assert_close(together, np.array(alone))


def test_groups_of_windows_add_up_and_share_a_program(x64, getkey, monkeypatch):
    model = small(getkey(), n_max=8)
    graph = random_graph(8, 0.5, 1)
    whole = gran.log_prob(model, graph).value
    monkeypatch.setattr(gran._bound, "EDGES", 40)
    shapes = []

    def spied(*args):
        shapes.append(args[-1])
        return assemble(*args)

    monkeypatch.setattr(gran._bound, "assemble", spied)
    assert_close(gran.log_prob(model, graph).value, whole)
    assert len(shapes) > 1  # groups, and one program for all of them
    assert len(set(shapes)) == 1


def test_rows_that_are_given_are_not_counted(x64, getkey):
    model = small(getkey())
    graph = gran.as_graph(random_graph(6, 0.5, 4))
    rest = gran.log_prob(model, graph, ("default",), block=1, start=4).value
    whole = gran.log_prob(model, graph, ("default",), block=1).value
    first = gran.log_prob(model, graph.subgraph(range(4)), ("default",), block=1).value
    assert_close(rest + first, whole)


def test_new_nodes_swap_with_their_places(x64, getkey):
    """A block of two: exchanging its nodes and their two places leaves the joint probability."""
    model = small(getkey(), n_max=4)
    graph = gran.Graph(4, np.array([[1, 0], [2, 0], [3, 1]]))
    swapped = graph.reorder([0, 1, 3, 2])

    def turn(x):
        return x.at[:, [1, 2]].set(x[:, [2, 1]])

    # The pair inside the block is (3, 2) both times: its difference of states must turn too.
    where = lambda m: (m.rounds.sent, m.rounds.received)  # noqa: E731
    turned = eqx.tree_at(where, model, tuple(map(turn, where(model))))
    h = [states(m, g) for m, g in ((model, graph), (turned, swapped))]
    assert_close(h[0][np.array([0, 1, 3, 2])], h[1])


def states(model, graph):
    part = Part(graph, np.array([2]), np.ones(1), 2, 2)
    pieces = [part.pieces(None)]
    batch = assemble(model, [part], pieces, needed([part], pieces))
    return gran._likelihood.passed(model, batch, gran._likelihood.starts(model, batch))[:4]


ORDERS = ("default", "degree", "bfs", "dfs", "kcore")


def test_a_matrix_that_many_orders_give_counts_once(x64, getkey):
    model = small(getkey())
    graph = nx.complete_graph(5)
    one = gran.log_prob(model, graph, "dfs", block=np.int64(1))
    many = gran.log_prob(model, graph, ORDERS)
    assert_close(gran.log_prob(model, graph, lambda g: np.arange(5)).value, one.value)
    assert many.terms.shape == (1,)
    assert many.orders == (ORDERS,)
    assert_close(many.value, one.value)


def test_more_orders_bound_the_graph_better(x64, getkey):
    """And all of them give it: the sum over the distinct matrices of a graph."""
    model = small(getkey())
    graph = gran.as_graph(nx.path_graph(4))
    bounds = [gran.log_prob(model, graph, ORDERS[:k]).value for k in range(1, 6)]
    assert all(a <= b for a, b in pairwise(bounds))
    every = [lambda g, p=p: np.array(p) for p in permutations(range(4))]
    exact = gran.log_prob(model, graph, every)
    assert exact.terms.shape == (12,)
    assert bounds[-1] <= exact.value
    uniform = gran.random_log_prob(model, graph, samples=300, key=getkey())
    weights = np.exp(np.asarray(uniform.terms))
    error = (weights.mean() - np.exp(exact.value)) / (weights.std(ddof=1) / math.sqrt(300))
    assert abs(error) < 4
    assert_close(uniform.bits_per_pair, -uniform.value / (6 * math.log(2)))


@pytest.mark.parametrize("how", ["dfs", "bfs"])
def test_random_roots_estimate_the_sum_over_their_matrices(x64, getkey, how):
    model = small(getkey())
    graph = gran.as_graph(random_graph(5, 0.5, 8))
    every = [lambda g, r=r: gran.order(g, how, root=r) for r in range(5)]
    exact = gran.log_prob(model, graph, every).value
    terms = gran.random_log_prob(model, graph, how, samples=300, key=getkey()).terms
    weights = np.exp(np.asarray(terms))
    assert abs(weights.mean() - np.exp(exact)) < 4 * weights.std(ddof=1) / math.sqrt(300)


def test_the_gradient_of_log_prob_is_its_slope(x64, getkey):
    model = small(getkey())
    graph = random_graph(5, 0.5, 2)
    params, static = eqx.partition(model, eqx.is_inexact_array)

    def value(params):
        return gran.log_prob(eqx.combine(params, static), graph, ("dfs", "bfs")).value

    keys = iter(jax.random.split(getkey(), 100))
    direction = jax.tree.map(lambda x: jax.random.normal(next(keys), x.shape, x.dtype), params)
    gradient = jax.grad(value)(params)
    products = jax.tree.map(lambda a, b: jnp.sum(a * b), gradient, direction)
    slope = finite_difference(value, params, direction, 1e-6)
    assert_close(sum(jax.tree.leaves(products)), slope, 1e-6)


def test_what_the_model_cannot_give_is_refused(getkey):
    model = small(getkey(), n_max=4, dtype=jnp.float32)
    with pytest.raises(ValueError, match="6 nodes, more than `n_max`=4"):
        gran.log_prob(model, nx.path_graph(6))
    with pytest.raises(ValueError, match="max_block"):
        gran.log_prob(model, nx.path_graph(3), block=4)
    with pytest.raises(ValueError, match="beyond `window`=2"):
        gran.log_prob(small(getkey(), window=2, dtype=jnp.float32), nx.star_graph(4), ("default",))
    with pytest.raises(ValueError, match="node_kinds"):
        gran.log_prob(small(getkey(), node_kinds=2, dtype=jnp.float32), nx.path_graph(3))
    with pytest.raises(ValueError, match="`condition` must have length 0"):
        gran.log_prob(model, nx.path_graph(3), condition=np.ones(2))
    told = small(getkey(), condition_size=2, dtype=jnp.float32)
    with pytest.raises(ValueError, match=r"`condition` must have length 2.*got shape \(\)"):
        gran.log_prob(told, nx.path_graph(3), condition=1.0)
    for start in (-1, 4):
        with pytest.raises(ValueError, match="`start` must be from 0 to the graph's 3 nodes"):
            gran.log_prob(model, nx.path_graph(3), start=start)
    with pytest.raises(ValueError, match="at least one ordering"):
        gran.log_prob(model, nx.path_graph(3), [])
    with pytest.raises(ValueError, match=r"must be one of .* got 'depth'"):
        gran.log_prob(model, nx.path_graph(3), "depth")
    with pytest.raises(ValueError, match="`stride` <= `block`"):
        gran.GRAN(4, block=2, stride=3, key=getkey())
    with pytest.raises(ValueError, match="`window` and `feat_dim` must be >= 1"):
        gran.GRAN(4, window=0, key=getkey())
    with pytest.raises(ValueError, match="`how` is"):
        gran.random_log_prob(model, nx.path_graph(3), "degree", key=getkey())
