"""What the chapter measures, against computations of another kind."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bnlib.chapters.residual import measure, stored, trained
from bnlib.chapters.residual.trained import Cell

SEEDS = range(2)


def test_a_block_is_the_identity_at_gamma_zero_and_is_none_at_a_tiny_gamma():
    gaps = measure.identity(SEEDS, 3)
    assert (gaps[["forward", "backward"]] == 0).all(axis=None)
    assert gaps[gaps.form == "v1"].kink.between(0.3, 0.7).all()
    at = measure.start("zero", "stream", 3, SEEDS)
    at.arm.params["gamma2"] += 1e-6
    seen, grads = at.seen()
    assert not torch.equal(seen.streams[3], seen.streams[0])
    assert not torch.equal(grads[0], grads[3])


def test_the_loss_falls_as_predicted_and_not_where_gamma_is_one(monkeypatch):
    step = measure.first_step("stream", SEEDS, 3)
    np.testing.assert_allclose(step.ratio[1e-4], 1, atol=1e-3)
    assert step.waiting == 0
    assert step.shift < 1e-12

    def opened(name, *args, _start=measure.start, **how):
        return _start("one" if name == "zero" else name, *args, **how)

    monkeypatch.setattr(measure, "start", opened)
    step = measure.first_step("stream", SEEDS, 3)
    assert step.waiting > 0
    assert np.abs(step.ratio[1e-4] - 1).min() > 0.1


@pytest.mark.parametrize("name", ["SGD", "momentum", "Adam"])
def test_descent_is_that_of_torch(name):
    at = measure.start("one", "stream", 1, SEEDS)
    how = {
        "SGD": lambda p: torch.optim.SGD(p, 0.01, weight_decay=0.1),
        "momentum": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=0.1),
        "Adam": lambda p: torch.optim.Adam(p, 0.01, eps=1e-16, weight_decay=0.1),
    }[name]
    params = {k: v.clone().requires_grad_() for k, v in at.arm.params.items()}
    optimizer = how(list(params.values()))
    for _ in range(3):
        optimizer.zero_grad()
        at.loss(params).sum().backward()
        optimizer.step()
    *_, (found, _) = measure.descend(at.loss, at.arm.params, 3, 0.01, name, decay=0.1)
    for k in ("W0", "W_in1", "gamma1", "gamma_in1"):
        torch.testing.assert_close(found[k], params[k].detach(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", list(measure.OPTIMIZERS))
def test_flipped_rows_change_nothing_at_gamma_zero_and_much_at_gamma_one(name, monkeypatch):
    assert measure.flipped(name, SEEDS, 2, steps=5) == 0

    def opened(name, *args, _start=measure.start, **how):
        return _start("one", *args, **how)

    monkeypatch.setattr(measure, "start", opened)
    assert measure.flipped(name, SEEDS, 2, steps=5) > 1e-3


def test_the_jump_of_zero_weights_is_the_law_and_a_dead_placement_stays_dead():
    jump = measure.placement("zero W under a norm", SEEDS, steps=3)
    np.testing.assert_allclose(jump.opened, jump.law, rtol=1e-6)
    assert jump.opened[2] > 0.99
    dead = measure.placement("zero γ before a ReLU", SEEDS, steps=3)
    assert dead.gradient == 0
    assert (dead.path == 0).all()
    alive = measure.placement("zero γ before a GELU", SEEDS, steps=3)
    assert alive.gradient > 0


def test_weights_wait_for_gamma_and_with_adam_one_step_only():
    sgd, adam = (measure.waiting(name, SEEDS, 2) for name in ("SGD", "Adam"))
    np.testing.assert_allclose(sgd.ratio.mean(0), [1, 6, 28, 120], rtol=0.03)
    assert sgd.weight[0] == adam.weight[0] == 0
    assert adam.jump == pytest.approx(np.sqrt(1.999) / 1.9, rel=0.01)


def test_shares_by_hand():
    x, f = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[2.0], [0.0]]])
    share, nu, rho = measure.row_share(x, f)  # variances 1 and 1, x + f is constant
    assert torch.isinf(share)
    assert (float(nu), float(rho)) == (1, -1)
    share, nu, rho = measure.row_share(x, -2 * f)
    np.testing.assert_allclose([float(v) for v in (share, nu, rho)], [4 / 9, 2, 1])


def test_the_gradient_of_closed_blocks_has_passed_none_and_of_plain_ones_half():
    closed = measure.start("zero", "stream", 4, SEEDS)
    assert np.abs(measure.passed(closed)).max() < 1e-12
    plain = measure.start("none", "stream", 4, range(8), width=128)
    assert measure.passed(plain).mean() == pytest.approx(2, rel=0.1)


def test_a_life_is_plain_descent_with_a_cosine_and_decay_of_the_last_gamma_alone():
    cell = Cell("digits", "stream", 1, 3)
    net, rows, order = trained.begin(cell, "one", SEEDS)
    params = {k: v.float().requires_grad_() for k, v in net.params.items()}
    for t in range(3):
        x = torch.as_tensor(rows.x_train).float()[order[t]]
        y = torch.as_tensor(rows.y_train)[order[t]]
        out = net.logits(params, x).flatten(0, 1)
        loss = F.cross_entropy(out, y.flatten(), reduction="sum") / 64
        decay = 0.5 * 0.1 * params["gamma1"].square().sum()
        grads = torch.autograd.grad(loss + decay, list(params.values()))
        rate = 0.5 * (1 + np.cos(np.pi * t / 3)) / 2
        pairs = zip(params.items(), grads, strict=True)
        params = {k: (v - rate * g).detach().requires_grad_() for (k, v), g in pairs}
    life = trained.life(cell, "one", SEEDS, decay=0.1)
    assert life.marks == [0, 2, 3]
    np.testing.assert_allclose(life.gamma[:, 0], params["gamma1"].detach(), rtol=2e-4)


def test_a_closed_block_can_be_removed_and_an_open_one_not():
    cell = Cell("digits", "stream", 2, 1)
    closed, opened = (trained.life(cell, arm, SEEDS, rate=1e-9) for arm in ("zero", "one"))
    assert np.abs(closed.removed).max() < 1e-6
    assert np.abs(opened.removed).min() > 1e-3
    assert np.abs(closed.nu).max() < 1e-6
    np.testing.assert_allclose(opened.nu[0].mean(), (1 + 2**-0.5) / 2, rtol=0.1)


def test_sizes_in_a_stage_of_a_file_add_up(monkeypatch):
    layers = [
        trained.efficientnet.Layer("conv", f"_blocks.{n}._bn2", 1, skip)
        for n, skip in enumerate((False, True, True, False))
    ]
    monkeypatch.setattr(trained.efficientnet, "layout", lambda state: layers)
    one = torch.ones(2)
    state = {}
    for n, gamma in enumerate(([2.0, 0.0], [1.0, -1.0], [-1.0, -1.0], [1.0, 0.0])):
        norm = f"_blocks.{n}._bn2"
        state |= {f"{norm}.weight": torch.tensor(gamma), f"{norm}.bias": 0 * one}
        state |= {f"{norm}.running_mean": 0 * one, f"{norm}.running_var": one - trained.EPS}
    found = trained.shipped(state)
    np.testing.assert_allclose(found.q, np.array([4, 2, 2, 1]) * (1 - trained.EPS), rtol=1e-6)
    np.testing.assert_allclose(found.share, [1, 1 / 3, 1 / 4, 1], rtol=1e-6)
    np.testing.assert_allclose(found.nu[1:3], [np.sqrt(1 / 2), np.sqrt(1 / 3)], rtol=1e-6)
    assert list(found.k) == [0, 1, 2, 0]
    assert list(found.negative) == [0, 1, 2, 0]


def test_the_stored_table_goes_on_where_it_stopped(tmp_path):
    full = {
        "seeds": 2,
        "convolution_seeds": 2,
        "powers": [-2, -1],
        "cells": {"digits": {"steps": 2, "forms": ["v1"], "blocks": [1]}},
        "life": {"blocks": 1, "steps": 2, "arms": ["one"]},
        "decays": [0.1],
    }
    path = tmp_path / "table.json"
    whole = stored.redo(path, full)
    text = path.read_text()
    path.write_text(json.dumps(whole | {"lives": whole["lives"][:-1]}))
    again = stored.redo(path, full)
    assert path.read_text() == text
    assert len(again["rates"]) == len(list(stored.cells(full)))


@pytest.mark.parametrize("arm", ["zero", "skip-init"])
def test_interaction_is_what_no_layer_of_a_step_does_alone(arm):
    rows = trained.split_steps(arm, 2, SEEDS).set_index(["state", "r", "seed"]).sort_index()
    at = measure.start(arm, "stream", 2, SEEDS)

    def slope(params):
        leaves = {k: v.clone().requires_grad_() for k, v in params.items()}
        loss = at.loss(leaves)
        grads = dict(zip(leaves, torch.autograd.grad(loss.sum(), [*leaves.values()]), strict=True))
        return loss.detach(), grads

    def moved(params, grads, rate, layers="0123"):
        def step(k, value):
            return rate.reshape(-1, *[1] * (value.ndim - 1)) * grads[k] * (k[-1] in layers)

        return {k: v - step(k, v) for k, v in params.items()}

    def energy(grads, layers="0123"):
        return sum(
            g.square().reshape(len(g), -1).sum(1) for k, g in grads.items() if k[-1] in layers
        )

    params = dict(at.arm.params)
    for state in ("start", "20 steps"):
        loss, grads = slope(params)
        spread = sum((energy(grads, n) / energy(grads)) ** 2 for n in "0123")
        for r in (0.1, 0.5):
            rate = r * loss / energy(grads)
            alone = sum(at.loss(moved(params, grads, rate, n)) - loss for n in "0123")
            share = (at.loss(moved(params, grads, rate)) - loss - alone) / (r * loss)
            found = rows.loc[(state, r)]
            np.testing.assert_allclose(found["int"], share, rtol=1e-6)
            np.testing.assert_allclose(found["per-layer"], share / (1 - spread), rtol=1e-6)
            np.testing.assert_allclose(found["n-eff"], 1 / spread, rtol=1e-6)
        for _ in range(20):
            loss, grads = slope(params)
            params = moved(params, grads, 0.1 * loss / energy(grads))
