"""Blocks and ends of the Hessian against the exact Hessian."""

import numpy as np
import pytest
import torch
from oracles.small_networks import first, network, scalar
from oracles.small_networks import hessian as exact_hessian

from bnlib.chapters.covariate_shift import hessian, measure
from bnlib.statistics import rows_with

BENCH = measure.load("digits", range(8))


@pytest.mark.parametrize("name", ["none", "bn", "layer-norm"])
def test_a_product_with_the_hessian_is_that_of_the_exact_hessian(name):
    params, loss = first(*network(name))
    exact, _ = exact_hessian(params, loss)
    rng = np.random.default_rng(3)
    vector = {k: torch.from_numpy(rng.normal(size=v.shape)) for k, v in params.items()}
    found = hessian.hvp(loss, params, vector)
    flat = [torch.cat([v[k].flatten() for k in params]).numpy() for v in (vector, found)]
    np.testing.assert_allclose(flat[1], exact @ flat[0], atol=1e-12)


def test_block_norms_are_those_of_the_exact_hessian():
    params, loss = network("bn")
    found = hessian.block_norms(loss, params, probes=1500, rng=np.random.default_rng(4))
    exact, layer = exact_hessian(*first(params, loss))
    want = [
        [(exact[np.ix_(layer == i, layer == j)] ** 2).sum() for j in (1, 2, 3)] for i in (1, 2, 3)
    ]
    # relative standard error of a block at most (2 / 1500)^(1/2) = 3.7 %
    np.testing.assert_allclose(found[0], want, rtol=0.12)
    torch.testing.assert_close(found, found.mT)


def test_block_norms_are_exact_where_layers_are_single_numbers():
    params = scalar(w1=3.0, w2=-2.0)
    found = hessian.block_norms(
        lambda p: p["w1"] ** 2 * p["w2"], params, probes=1, rng=np.random.default_rng(0)
    )
    np.testing.assert_allclose(found[0], [[16.0, 36.0], [36.0, 0.0]], atol=1e-12)
    assert float(hessian.diagonal_share(found)) == pytest.approx(16 / 88)


def test_share_of_equal_independent_entries_and_coupling():
    counts = np.array([2.0, 3.0, 5.0])
    norms = torch.from_numpy(np.outer(counts, counts))[None]
    assert float(hessian.diagonal_share(norms)) == pytest.approx(38 / 100)
    torch.testing.assert_close(hessian.coupling(norms), torch.ones_like(norms))
    scaled = norms * torch.tensor([1.0, 9.0, 4.0])[:, None] * torch.tensor([1.0, 9.0, 4.0])
    torch.testing.assert_close(hessian.coupling(7 * scaled), torch.ones_like(norms))


@pytest.mark.parametrize("sign", [1, -1])
def test_lanczos_finds_both_ends_also_where_the_negative_one_dominates(sign):
    params, loss = first(*network("bn"))
    exact, _ = exact_hessian(params, loss)
    values = np.linalg.eigvalsh(sign * exact)
    found = hessian.extreme_eigenvalues(lambda p: sign * loss(p), params, k=3)
    np.testing.assert_allclose(found.low, values[:3], atol=1e-9)
    np.testing.assert_allclose(found.high, values[:-4:-1], atol=1e-9)
    dominant = sign * np.abs(values).max()
    assert (found.high if sign > 0 else found.low)[0] == pytest.approx(dominant)


def test_lanczos_separates_ends_of_equal_size():
    values = torch.tensor([-2.0, -1.0, 0.5, 2.0], dtype=torch.float64)

    def saddle(p):
        return 0.5 * (values * p["w1"] ** 2).sum(1)

    found = hessian.extreme_eigenvalues(saddle, {"w1": torch.ones(1, 4, dtype=torch.float64)})
    assert (found.low[0], found.high[0]) == (pytest.approx(-2), pytest.approx(2))


def test_hessian_functions_refuse_what_they_cannot_do():
    params, loss = network()
    with pytest.raises(ValueError, match="vector: expected the structure of the parameters"):
        hessian.hvp(loss, params, {"W1": params["W1"]})
    with pytest.raises(ValueError, match="probes: expected at least 1, got 0"):
        hessian.block_norms(loss, params, probes=0, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="one network"):
        hessian.extreme_eigenvalues(loss, params)
    own, alone = first(params, loss)
    with pytest.raises(ValueError, match="k: expected 1 to"):
        hessian.extreme_eigenvalues(alone, own, k=0)
    with pytest.raises(ValueError, match="float64"):
        hessian.extreme_eigenvalues(alone, {k: v.float() for k, v in own.items()})


def test_without_structure_the_share_is_that_of_the_counts():
    params = {"W1": torch.ones(2, 3, 2), "W2": torch.ones(2, 1, 3), "b2": torch.ones(2, 1)}
    assert hessian.iid_share(params) == pytest.approx(1 - (6**2 + 4**2) / 10**2)


def test_both_ends_of_the_spectrum_are_those_of_the_whole_hessian():
    bench = BENCH._replace(seeds=range(2), width=2, batch=8)
    ends = hessian.spectrum_ends(bench, ["bn"], 2, 2)
    for state, at in hessian.states(bench, "bn", 2, 2):
        single = hessian.alone(at, 1)
        params = single.arm.params
        sizes, columns = [v.numel() for v in params.values()], []
        for row in torch.eye(sum(sizes), dtype=torch.float64):
            parts = zip(params.items(), row.split(sizes), strict=True)
            vector = {k: part.view_as(v) for (k, v), part in parts}
            product = hessian.hvp(single.loss, params, vector)
            columns.append(torch.cat([product[k].flatten() for k in params]))
        exact = torch.linalg.eigvalsh(torch.stack(columns))
        row = rows_with(ends, seed=1, state=state).iloc[0]
        assert row.lowest == pytest.approx(float(exact[0]), rel=1e-2, abs=1e-3)
        assert row.highest == pytest.approx(float(exact[-1]), rel=1e-2)
