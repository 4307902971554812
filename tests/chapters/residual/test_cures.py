"""Warm-up and momentum against torch's own; the rows of the second table."""

import pytest
import torch

from bnlib import sweep
from bnlib.chapters.residual import cures, trained
from bnlib.chapters.residual.trained import Cell

CELL = Cell("digits", "stream", 1, 6)


def by_torch(steps, change, **how):
    """Final losses of two networks, each trained alone by torch's optimizer at rate 0.1."""
    finals = []
    for seed in range(2):
        net, rows, order = trained.begin(CELL, "one", [seed])
        x, y = torch.as_tensor(rows.x_train), torch.as_tensor(rows.y_train)
        params = {k: v.clone().requires_grad_() for k, v in net.params.items()}
        optimizer = torch.optim.SGD(list(params.values()), 0.1, **how)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, change)

        def loss(which, params=params, net=net, x=x, y=y):
            return torch.nn.functional.cross_entropy(net.logits(params, x[which])[0], y[which[0]])

        for batch in order[:steps]:
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()
            schedule.step()
        finals.append(loss(torch.arange(64)[None]).item())
    return finals


@pytest.mark.parametrize(
    ("change", "how", "schedule"),
    [
        (cures.momentum(0.9), {"momentum": 0.9}, lambda step: 1.0),
        (cures.warm_up(4), {}, lambda step: min((step + 1) / 4, 1.0)),
    ],
    ids=["momentum", "warm-up"],
)
def test_what_changes_the_gradients_is_what_torch_calls_so(change, how, schedule):
    net, rows, order = trained.begin(CELL, "one", range(2))
    how_swept = {"order": order, "check": 64, "watch": change, "dtype": torch.float64}
    run = sweep.train_sweep(net, rows.x_train, rows.y_train, [0.1], **how_swept)
    expected = by_torch(CELL.steps, schedule, **how)
    torch.testing.assert_close(torch.tensor(run.final[0]), torch.tensor(expected).double())
    plain = by_torch(CELL.steps, lambda step: 1.0)
    assert min(abs(a - b) for a, b in zip(plain, expected, strict=True)) > 1e-3
