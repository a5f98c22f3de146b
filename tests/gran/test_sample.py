"""The sampler has the likelihood's conditionals, whatever its buffers; limits are kept to."""

from collections import Counter
from itertools import product

import equinox as eqx
import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import pytest
from graph_problems import all_graphs, log_probs, random_graph
from scipy import stats

from helpers import assert_close
from tenfold import gran
from tenfold.gran._chunks import Step
from tenfold.gran._draw import _at_least_one, logits_of
from tenfold.gran._grow import grow
from tenfold.gran._kept import kept_view, nothing_kept, put_back, taken_apart
from tenfold.gran._known import room, start_from, view_of
from tenfold.gran._pass import states

FALSE_ALARM = 1e-4
"""Of each chi-square test; the keys are fixed."""


def small(key, **options):
    sizes = {"n_max": 9, "hidden": 8, "rounds": 2, "mixtures": 3, "gate": 4, "max_block": 3}
    return gran.GRAN(key=key, **{**sizes, **options})


def labelled(n, seed, kinds, labels):
    rng = np.random.default_rng(seed)
    graph = gran.as_graph(random_graph(n, 0.6, seed))
    return gran.Graph(
        n, graph.edges, rng.integers(labels, size=n), rng.integers(kinds, size=graph.n_edges)
    )


@eqx.filter_jit
def window_log_prob(model, space, known, before, graph, low, t, count, kept, told, block):
    """log p of the kept rows of one window, from what the sampler computes; what it then keeps."""
    base = low // space.chunk * space.chunk
    at = Step(low - base, t - base, count, base)
    rounds, view = taken_apart(model.rounds), view_of(space, known, base)
    found = kept_view(before, space, base)
    h, new, found = states(model, rounds, space, view, at, block, told, found)
    weights, logits = logits_of(model, space, at, h, new)
    joint = jax.nn.log_softmax(weights)
    kinds, labels = graph
    norm = jax.nn.softplus(jax.nn.logsumexp(logits, axis=-1))
    for b in range(block):
        for j in range(kinds.shape[1]):
            i, here = t + b, j - base
            ok = (b < kept) & (j < i) & (j >= i - (model.window or model.n_max))
            kind = kinds[jnp.minimum(i, len(kinds) - 1), j]
            z = logits[here, b]
            term = jnp.where(kind > 0, z[:, kind - 1], 0) - norm[here, b]
            joint = joint + jnp.where(ok, term, 0)
        if model.node_kinds:
            scores = model.label_head(new[b]).reshape(model.mixtures, model.node_kinds)
            label = labels[jnp.minimum(t + b, len(labels) - 1)]
            joint = joint + jnp.where(b < kept, jax.nn.log_softmax(scores)[:, label], 0)
    return jax.nn.logsumexp(joint), put_back(before, found, base)


CASES = {
    "block 1": ({}, 1, 1, (8, 1)),
    "block 3, stride 2": ({"rounds": 3}, 3, 2, (4, 30)),
    "no attention, small feature": ({"gate": 0, "feat_dim": 3, "rounds": 1}, 2, 2, (8, 1)),
    "window": ({"window": 3, "rounds": 3}, 2, 1, (8, 1)),
    "window, categories, condition": (
        {"window": 4, "edge_kinds": 2, "node_kinds": 3, "condition_size": 2},
        2,
        1,
        (4, 30),
    ),
}
"""Options, block, stride, and room: the neighbours that lists hold, and the length of the spill."""


@pytest.mark.parametrize("name", CASES)
def test_the_samplers_conditionals_are_the_likelihoods(x64, getkey, name):
    """Step by step, known rows being the graph's own; also where lists overflow.

    The same whether the first rounds are kept from step to step or made anew.
    """
    options, block, stride, lists = CASES[name]
    model = small(getkey(), dtype=jnp.float64, **options)
    graph = labelled(9, 3, model.edge_kinds, max(model.node_kinds, 1))
    if model.window:
        near = graph.edges[:, 0] - graph.edges[:, 1] <= model.window
        graph = gran.Graph(9, graph.edges[near], graph.node_labels, graph.edge_labels[near])
    assert graph.degrees.max() > 4
    condition = np.array([0.5, -2.0]) if model.condition_size else None
    told = model.told(None if condition is None else jnp.asarray(condition))
    told = jnp.broadcast_to(told, (model.hidden,))
    space = room(model, block, 4, *lists)
    kinds = np.zeros((9, 9), int)
    kinds[tuple(graph.edges.T)] = graph.edge_labels + 1
    truth = (jnp.asarray(kinds), jnp.asarray(graph.node_labels))
    total, t, kept = 0.0, 0, nothing_kept(model, space.nodes, block)
    while t < 9:
        stop = 9 if t + block >= 9 else t + stride
        known = start_from(model, space, graph.subgraph(range(t)), told)
        low = max(0, t - model.window) if model.window else 0
        numbers = (jnp.asarray(x, jnp.int32) for x in (low, t, min(block, 9 - t), stop - t))
        numbers = tuple(numbers)
        anew, _ = window_log_prob(
            model, space, known, nothing_kept(model, space.nodes, block), truth, *numbers, told,
            block,
        )  # fmt: skip
        value, kept = window_log_prob(model, space, known, kept, truth, *numbers, told, block)
        assert_close(value, anew)
        total, t = total + value, stop
    options = {"block": block, "stride": stride, "condition": condition}
    assert_close(total, gran.log_prob(model, graph, ("default",), **options).value)


@pytest.mark.parametrize(("block", "stride"), [(1, 1), (2, 1)])
def test_graphs_of_three_nodes_come_as_often_as_they_should(getkey, block, stride):
    """2,000 graphs over the 8 matrices."""
    model = small(getkey(), density=0.4, n_max=4)
    graphs = gran.sample(
        model, [3] * 2000, block=block, stride=stride, parallel=2000, chunk=4, key=getkey()
    )
    pairs = [(1, 0), (2, 0), (2, 1)]
    codes = [sum(2 ** pairs.index(tuple(e)) for e in g.edges.tolist()) for g in graphs]
    counts = np.bincount(codes, minlength=8)
    expected = []
    for code in range(8):
        edges = np.array([p for b, p in enumerate(pairs) if code >> b & 1]).reshape(-1, 2)
        graph = gran.Graph(3, edges.astype(int))
        bound = gran.log_prob(model, graph, ("default",), block=block, stride=stride)
        expected.append(float(np.exp(bound.value)))
    assert sum(expected) == pytest.approx(1, abs=1e-5)
    assert stats.chisquare(counts, 2000 * np.array(expected) / sum(expected)).pvalue > FALSE_ALARM


def test_verified_drafts_have_the_law_of_block_one(getkey):
    """1,000 labelled graphs of three nodes, drafted at once, over all matrices; cells of expected
    counts below 5 are joined. Some rows are refused, or there would be one step only."""
    model = small(getkey(), n_max=3, density=0.4, rounds=1, mixtures=2, node_kinds=2)
    model = jax.tree.map(lambda x: 2.5 * x, model)
    graphs = gran.sample(model, [3] * 1000, draft=3, parallel=1000, chunk=4, key=getkey())
    assert 1.02 < graphs.steps.mean() < 1.98

    def code(g):
        labels = () if g.node_labels is None else tuple(g.node_labels.tolist())
        kinds = [0] * g.n_edges if g.edge_labels is None else g.edge_labels.tolist()
        return (*labels, *((*e, k) for e, k in zip(g.edges.tolist(), kinds)))

    expected = {code(g): 1000 * np.exp(lp) for g, lp in laws(model, 3)}
    assert sum(expected.values()) == pytest.approx(1000, rel=1e-4)
    seen = Counter(map(code, graphs))
    cells = np.array([(seen[c], e) for c, e in expected.items()])
    rare = cells[:, 1] < 5
    cells = np.concatenate([cells[~rare], cells[rare].sum(0, keepdims=True)])
    cells = cells[cells[:, 1] > 0]
    law = cells[:, 1] * 1000 / cells[:, 1].sum()
    assert stats.chisquare(cells[:, 0], law).pvalue > FALSE_ALARM


def test_labels_come_as_often_as_they_should(getkey):
    """2,000 graphs of two nodes over 3 x 3 labels and three states of the pair."""
    model = small(getkey(), edge_kinds=2, node_kinds=3, n_max=3)
    graphs = gran.sample(model, [2] * 2000, block=2, parallel=2000, chunk=4, key=getkey())
    seen, expected = {}, {}
    for g in graphs:
        kind = int(g.edge_labels[0]) + 1 if g.n_edges else 0
        code = (*g.node_labels.tolist(), kind)
        seen[code] = seen.get(code, 0) + 1
    for a, b, kind in product(range(3), range(3), range(3)):
        edges = np.array([[1, 0]] * (kind > 0), int).reshape(-1, 2)
        graph = gran.Graph(2, edges, np.array([a, b]), np.array([kind - 1] * (kind > 0), int))
        value = gran.log_prob(model, graph, ("default",), block=2).value
        expected[a, b, kind] = 2000 * float(np.exp(value))
    counts = [seen.get(code, 0) for code in expected]
    scale = 2000 / sum(expected.values())
    expected = np.array(list(expected.values())) * scale
    assert scale == pytest.approx(1, abs=1e-5)
    assert stats.chisquare(counts, expected).pvalue > FALSE_ALARM


def laws(model, n):
    graphs = list(all_graphs(n, model.edge_kinds, model.node_kinds))
    return zip(graphs, log_probs(model, graphs, 1, 1).astype(np.float64))


def same(a, b):
    return all(np.array_equal(x.edges, y.edges) for x, y in zip(a, b, strict=True))


def test_one_program_samples_every_size(getkey):
    model = small(getkey())
    gran.sample(model, [7], key=getkey())
    before = compilations()
    sizes = [1, 2, 5, 8, 9]
    graphs = gran.sample(model, sizes, key=getkey())
    assert [g.n_nodes for g in graphs] == sizes
    assert compilations() == before


def compilations():
    return grow._cached._cache_size()


def test_buffers_and_company_do_not_change_the_graphs(getkey):
    model, key = small(getkey(), density=0.6), getkey()
    graphs = gran.sample(model, [9, 4, 7], block=2, key=key)
    assert max(g.degrees.max() for g in graphs) > 4
    options = {"degree": 4, "spill": 2, "parallel": 2}  # which overflow, and are doubled
    assert same(graphs, gran.sample(model, [9, 4, 7], block=2, **options, key=key))


def test_drafts_are_verified_whatever_the_lists_hold(getkey):
    """Rows that are drafted and not yet verified must not tell known nodes anything."""
    model, key = small(getkey(), density=0.6, rounds=1, mixtures=1), getkey()
    model = jax.tree.map(lambda x: 3 * x, model)
    options = {"draft": 3, "parallel": 40, "chunk": 4, "key": key}
    graphs = gran.sample(model, [9] * 40, **options)
    assert max(g.degrees.max() for g in graphs) > 4
    assert same(graphs, gran.sample(model, [9] * 40, degree=2, spill=64, **options))


def test_a_partial_graph_stays(getkey):
    model = small(getkey(), node_kinds=2)
    start = gran.Graph(4, np.array([[1, 0], [3, 0]]), np.array([0, 1, 1, 0]))
    for graph in gran.sample(model, [4, 6, 9], start=start, block=3, key=getkey()):
        first = graph.subgraph(range(4))
        assert np.array_equal(first.edges, start.edges)
        assert np.array_equal(first.node_labels, start.node_labels)


def test_a_window_bounds_the_distance_of_neighbours(getkey):
    model = small(getkey(), n_max=40, window=5)
    (graph,) = gran.sample(model, [40], block=2, chunk=4, key=getkey())
    gaps = graph.edges[:, 0] - graph.edges[:, 1]
    assert gaps.max() == 5
    assert len(graph.edges) > 60


def test_limits_are_kept_to(getkey):
    model = small(getkey(), n_max=20, density=0.2)

    def bipartite(i, j):
        return (i + j) % 2 == 1

    graphs = gran.sample(
        model,
        [20] * 10,
        block=2,
        max_degree=3,
        connected=True,
        allowed=bipartite,
        parallel=10,
        key=getkey(),
    )
    for graph in graphs.to_networkx():
        assert nx.is_connected(graph)
        assert max(d for _, d in graph.degree) == 3
        assert all((i + j) % 2 for i, j in graph.edges)
    # Cycles and paths: the last free end is never closed while nodes remain.
    for graph in gran.sample(
        model, [20] * 20, max_degree=2, connected=True, parallel=20, key=getkey()
    ).to_networkx():
        assert nx.is_connected(graph)
        assert max(d for _, d in graph.degree) == 2
    with pytest.raises(RuntimeError, match="`connected` can't be kept to"):
        gran.sample(model, [4], connected=True, allowed=lambda i, j: j > i, key=getkey())


def test_one_success_at_least_has_the_conditional_law(getkey):
    """20,000 draws over the 7 outcomes of three pairs, a fourth being masked."""
    logits, ok = jnp.array([-2.0, 0.5, -1.0, 3.0]), jnp.array([True, True, True, False])

    @jax.vmap
    def draw(key):
        one, two = jax.random.split(key)
        edges = jax.random.bernoulli(one, jax.nn.sigmoid(logits)) & ok
        return _at_least_one(edges, ok, logits, jax.random.gumbel(two, (4,)))

    found = np.asarray(draw(jax.random.split(getkey(), 20_000)))
    assert not found[:, 3].any()
    counts = np.bincount(found[:, :3] @ np.array([1, 2, 4]), minlength=8)
    p = 1 / (1 + np.exp(-np.asarray(logits[:3], np.float64)))
    bits = np.array([[code >> b & 1 for b in range(3)] for code in range(8)])
    law = np.prod(np.where(bits, p, 1 - p), axis=1)
    assert counts[0] == 0
    assert stats.chisquare(counts[1:], 20_000 * law[1:] / law[1:].sum()).pvalue > FALSE_ALARM


def test_a_low_temperature_gives_the_likeliest_rows(getkey):
    """With a single part and block 1 a cold sample takes each pair that is likelier than not."""
    model, key = small(getkey(), mixtures=1), getkey()
    cold = gran.sample(model, [9] * 3, temperature=1e-4, key=key)
    assert same(cold[:1], cold[1:2])
    assert same(cold[:1], cold[2:])
    hot = gran.sample(model, [9] * 3, key=key)
    assert not same(hot[:1], hot[1:2])


def test_sizes_are_drawn_from_their_law(getkey):
    pmf = gran.size_pmf([nx.path_graph(2), nx.path_graph(3), nx.path_graph(3)])
    assert pmf.tolist() == pytest.approx([0, 0, 1 / 3, 2 / 3])
    graphs = gran.sample(small(getkey()), size_pmf=pmf, n=12, key=getkey())
    assert set(graphs.n_nodes) == {2, 3}


def test_bad_requests_are_refused(getkey):
    model, key = small(getkey()), getkey()
    for wrong, message in (
        ({"sizes": [10]}, "`n_max`=9"),
        ({}, "either `sizes` or `size_pmf`"),
        ({"size_pmf": [0.5, 0.2]}, "sum to 1"),
        ({"sizes": [2], "start": nx.path_graph(3)}, "the nodes of `start`"),
        ({"sizes": [2], "temperature": 0.0}, "`temperature`"),
        ({"sizes": [2], "block": 4}, "`max_block`"),
        ({"sizes": [2], "draft": 4}, "`max_block`"),
        ({"sizes": [2], "draft": 2, "block": 2}, "goes with `block` 1"),
        ({"sizes": [2], "draft": 2, "connected": True}, "no limits"),
        ({"sizes": [2], "condition": [1.0]}, "`condition` must have length 0"),
        ({"sizes": [5], "start": nx.DiGraph([(0, 1)])}, "directed"),
        ({"sizes": [2.7]}, "`sizes` must be whole numbers"),
        ({"size_pmf": []}, "`size_pmf` must be probabilities"),
        ({"sizes": [2], "max_degree": 0}, "`max_degree`"),
        ({"sizes": [2], "condition": np.ones((2, 2))}, "`condition` must be one vector"),
        ({"sizes": [6], "start": nx.star_graph(4), "max_degree": 2}, "`start` does not keep"),
        ({"sizes": [6], "start": gran.Graph(4, np.zeros((0, 2), int)), "connected": True}, "piece"),
        ({"sizes": [6], "start": nx.path_graph(3), "allowed": lambda i, j: j > i}, "`allowed`"),
    ):
        with pytest.raises(ValueError, match=message):
            gran.sample(model, **wrong, key=key)
