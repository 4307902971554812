"""Several real processes against one: the same numbers, and no process that waits for ever."""

import time

import numpy as np
import pytest
import ranks
import torch

from bnlib import distributed, layer

SPLITS = [(8, 8), (5, 11), (15, 1), (16, 0)]
NAMES = "y", "dx", "dgamma", "dbeta", "running mean", "running variance"


def big_batch(shape, dtype):
    generator = torch.Generator().manual_seed(3)
    x, dy = (torch.randn(shape, generator=generator, dtype=dtype) for _ in range(2))
    gamma, beta = (torch.randn(shape[1], generator=generator, dtype=dtype) for _ in range(2))
    return 3 * x + 40, dy, gamma, beta


def alone(x, dy, gamma, beta):
    rows, weight, bias = (v.clone().requires_grad_() for v in (x, gamma, beta))
    mean, var = torch.zeros_like(gamma), torch.ones_like(gamma)
    y = layer.batch_norm(rows, mean, var, weight, bias, True, 0.1, 1e-5)
    (y * dy).sum().backward()
    return [v.detach() for v in (y, rows.grad, weight.grad, bias.grad, mean, var)]


@pytest.fixture(scope="module")
def both():
    """What both ranks give for each split of one batch, float64."""
    given = big_batch((16, 5), torch.float64)
    return given, distributed.run(ranks.passes, 2, *given, SPLITS)


@pytest.mark.parametrize("case", range(len(SPLITS)), ids=lambda case: str(SPLITS[case]))
def test_two_processes_give_what_one_big_batch_gives(both, case):
    given, (first, second) = both[0], (rank[case] for rank in both[1])
    merged = [torch.cat([a, b]) for a, b in zip(first[:2], second[:2], strict=True)] + first[2:]
    for name, got, want in zip(NAMES, merged, alone(*given), strict=True):
        assert (got - want).abs().max() <= 1e-12 * want.abs().max(), name
    for a, b in zip(first[2:], second[2:], strict=True):
        assert torch.equal(a, b), "the ranks must not drift apart"


def test_pictures_in_float32_and_a_third_process_agree_to_its_rounding():
    given = big_batch((9, 4, 3, 2), torch.float32)
    results = distributed.run(ranks.passes, 3, *given, [(4, 0, 5)])
    merged = [torch.cat(parts) for parts in zip(*(r[0][:2] for r in results), strict=True)]
    for got, want in zip(merged + results[0][0][2:], alone(*given), strict=True):
        assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_merged_statistics_are_those_of_all_rows():
    parts = [torch.tensor(np.random.default_rng(k).normal(size=(k, 3)) + 5 * k) for k in (4, 1)]
    (count, mean, m2), _ = distributed.run(ranks.pooled, 2, parts)
    rows = torch.cat(parts).numpy()
    assert count == len(rows)
    np.testing.assert_allclose(mean, rows.mean(0), rtol=1e-14)
    np.testing.assert_allclose(m2, np.square(rows - rows.mean(0)).sum(0), rtol=1e-13)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_peer_ends_the_other_with_a_clear_error(rank):
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=f"rank {rank}: killed by signal 9") as caught:
        distributed.run(ranks.killed, 2, rank, seconds=20.0)
    assert time.monotonic() - start < 20 + distributed.GRACE
    noticed = f"rank {1 - rank}: RuntimeError: rank {1 - rank}: expected numbers from all 2 ranks"
    assert noticed in str(caught.value)


def test_a_peer_that_does_not_come_ends_the_other_within_the_time_limit():
    start = time.monotonic()
    message = r"rank 0: RuntimeError: .*Timed out waiting 3000ms.*rank 1: no end within"
    with pytest.raises(RuntimeError, match=message):
        distributed.run(ranks.absent, 2, 300, seconds=3.0)
    assert time.monotonic() - start < 60


def test_fewer_than_two_rows_in_all_are_refused_on_every_rank():
    with pytest.raises(RuntimeError, match=r"rank 0: ValueError: .*got 1; rank 1: ValueError"):
        distributed.run(ranks.too_few, 2)


def test_without_a_process_group_nothing_is_silently_unsynchronized():
    with pytest.raises(RuntimeError, match="expected an initialized process group, got none"):
        distributed.sync_batch_norm(torch.ones(2, 1), None, None, training=True)


def test_evaluation_needs_no_other_process():
    x, stored = torch.randn(3, 2), torch.tensor([1.0, 2.0])
    y = distributed.sync_batch_norm(x, stored, stored)
    torch.testing.assert_close(y, layer.batch_norm(x, stored, stored))
