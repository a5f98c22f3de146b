"""The real files, where TENFOLD_DATA has them: whole, and with the numbers known of them."""

import numpy as np
import pytest

from tenfold.lab import data
from tenfold.lab.data import cifar10, firstmm_db, mnist, mocap, physionet2012

pytestmark = pytest.mark.data


def test_mnist_is_the_published_one(real):
    real("mnist")
    test = mnist.load("test")
    assert test.images.shape == (10_000, 28, 28)
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert {check.says for check in data.check(["mnist"])} == {"verified (published md5)"}


@pytest.mark.slow
def test_cifar10_jpegs_decode(real):
    real("cifar10")
    test = cifar10.load("test")
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert 115 < test.images.mean() < 128


def test_mocap_has_its_three_splits(real):
    real("mocap")
    assert [mocap.load(split).series.shape[0] for split in mocap.SHAPES] == [16, 3, 4]


@pytest.mark.slow
def test_physionet_has_its_stays_and_deaths(real):
    """554 of the 4,000 of set a died in hospital."""
    real("physionet2012")
    stays = physionet2012.load(["a"])
    assert stays.died.sum() == 554
    assert stays.times.max() == 48
    assert stays.values.shape[0::2] == (4000, 37)
    assert physionet2012.binned(stays).mask.any((0, 1)).all()


def test_firstmm_has_its_graphs(real):
    """Sizes as the collection states them: 1,377.27 nodes and 3,074.10 links in the mean."""
    real("firstmm_db")
    found = firstmm_db.load()
    sizes = [(graph.n_nodes, graph.n_edges) for graph in found.graphs]
    assert len(sizes) == 41
    assert max(sizes) == (5037, 10886)
    assert np.mean(sizes, axis=0) == pytest.approx([1377.27, 3073.76], abs=0.005)
    assert len(firstmm_db.load("train").graphs) == 32
    assert {check.says for check in data.check(["firstmm_db"])} == {"verified (published sha256)"}
