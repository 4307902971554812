"""Training of seed-batched networks: seeds apart, equal to plain torch, refusals, determinism."""

import numpy as np
import pytest
import torch
from torch import nn

from bnlib import training
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec

SEEDS = (4, 0, 9)
RECIPE = {"steps": 25, "batch": 8, "lr": 0.1}
ARMS = {
    "plain": Spec((6, 12, 10, 3), norm="none"),
    "affine": Spec((6, 12, 10, 3), norm="affine"),
    "batch": Spec((6, 12, 10, 3)),
    "batch without scale": Spec((6, 12, 10, 3), scale=False),
    "batch after tanh": Spec((6, 12, 10, 3), activation="tanh", order="post"),
    "batch at both ends": Spec((6, 12, 10, 3), input_norm="batch", output_norm="batch"),
    "layer": Spec((6, 12, 10, 3), norm="layer"),
    "layer after relu": Spec((6, 12, 10, 3), norm="layer", order="post", eps=0.3),
    "layer without shift": Spec((6, 12, 10, 3), norm="layer", shift=False),
    "mean-only": Spec((6, 12, 10, 3), norm="mean-only"),
    "std-only": Spec((6, 12, 10, 3), norm="std-only", eps=0.1),
}
OPTIMIZERS = {
    "sgd": {"momentum": 0.9, "schedule": "cosine"},
    "adam": {"optimizer": "adam", "lr": 0.01, "schedule": "cosine"},
}


@pytest.fixture
def data():
    """Own rows and labels for each seed; the classes can be learned."""
    rng = np.random.default_rng(0)
    x = rng.normal(0.5, 1.5, (len(SEEDS), 40, 6))
    return x, (x @ rng.normal(size=(6, 3))).argmax(-1)


class Norm(nn.Module):
    """The norms of `Spec` from other sources: torch's modules, or a line of its own."""

    def __init__(self, kind, width, eps):
        super().__init__()
        self.kind, self.eps = kind, eps
        made = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}.get(kind)
        self.inner = made(width, eps=eps) if made else None
        self.weight, self.bias = (
            (self.inner.weight, self.inner.bias)
            if self.inner
            else (nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)))
        )

    def forward(self, x):
        if self.inner:
            return self.inner(x)
        if self.kind == "mean-only":
            x = x - x.mean(0)
        if self.kind == "std-only":
            x = x / (x.var(0, unbiased=False) + self.eps).sqrt()
        return self.weight * x + self.bias


def torch_twin(spec, params):
    """The network of one seed built of torch.nn modules, and name -> its parameter."""
    modules, named, last = [], {}, len(spec.sizes) - 1
    phi = {"relu": nn.ReLU, "tanh": nn.Tanh}[spec.activation]
    for layer in range(last + 1):
        if layer > 0:
            modules.append(nn.Linear(*spec.sizes[layer - 1 : layer + 1], spec.has_bias(layer)))
            named[f"W{layer}"], named[f"b{layer}"] = modules[-1].weight, modules[-1].bias
        tail = [phi()] if 0 < layer < last else []
        if spec.norms[layer] != "none":
            norm = Norm(spec.norms[layer], spec.sizes[layer], spec.eps)
            named[f"gamma{layer}"], named[f"beta{layer}"] = norm.weight, norm.bias
            tail = [norm, *tail] if spec.order == "pre" else [*tail, norm]
        modules += tail
    twin = nn.Sequential(*modules).double()
    for name in params:
        named[name].data = params[name].clone()
    for name in set(named) - set(params):
        if named[name] is not None:
            named[name].requires_grad_(False)
    return twin, named


def torch_optimizer(twin, steps, *, lr, optimizer="sgd", momentum=0.0, schedule="constant"):
    free = [p for p in twin.parameters() if p.requires_grad]
    adam = optimizer == "adam"
    made = torch.optim.Adam(free, lr) if adam else torch.optim.SGD(free, lr, momentum)
    if schedule == "cosine":
        return made, torch.optim.lr_scheduler.CosineAnnealingLR(made, steps)
    return made, torch.optim.lr_scheduler.MultiStepLR(made, [])


@pytest.mark.parametrize("options", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
@pytest.mark.parametrize("spec", ARMS.values(), ids=list(ARMS))
def test_each_of_all_seeds_at_once_is_plain_torch_within_rounding(spec, options, data):
    net, recipe = SeedBatchedMLP(spec, SEEDS), {**RECIPE, **options}
    start = net.params
    history = training.train(net, *data, **recipe)
    steps, batch = recipe.pop("steps"), recipe.pop("batch")
    for s, seed in enumerate(SEEDS):
        x, y = (torch.from_numpy(part[s]) for part in data)
        twin, named = torch_twin(spec, {name: value[s] for name, value in start.items()})
        optimizer, schedule = torch_optimizer(twin, steps, **recipe)
        expected = []
        for rows in training.batch_order([seed], 40, batch=batch, steps=steps)[:, 0]:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(twin(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            schedule.step()
            expected.append(float(loss.detach()))
        np.testing.assert_allclose(history.loss[:, s], expected, rtol=1e-9)
        assert max(float((net.params[k][s] - named[k]).detach().abs().max()) for k in start) < 1e-9


def test_a_diverging_seed_is_flagged_and_leaves_every_bit_of_the_others(data):
    x, y = data
    calm, wild = (SeedBatchedMLP(ARMS["plain"], SEEDS) for _ in range(2))
    recipe = {**RECIPE, "steps": 40, "momentum": 0.9}
    fine = training.train(calm, x, y, **{**recipe, "lr": [0.05, 0.05, 0.05]})
    history = training.train(wild, x, y, **{**recipe, "lr": [0.05, 1e200, 0.05]})
    assert history.diverged.tolist() == [False, True, False]
    assert 0 < history.diverged_at[1] < 40
    assert np.isfinite(history.loss[: history.diverged_at[1], 1]).all()
    assert not fine.diverged.any()
    for name, value in calm.params.items():
        assert torch.equal(value[[0, 2]], wild.params[name][[0, 2]])
    assert history.loss[:, [0, 2]].tobytes() == fine.loss[:, [0, 2]].tobytes()


def test_parameters_that_break_only_in_the_last_step_are_flagged_too():
    net = SeedBatchedMLP(Spec((1, 1), norm=()), [5, 6])
    net.params = {k: torch.ones_like(v) for k, v in net.params.items()}
    options = {"steps": 1, "batch": 1, "loss": "mse", "lr": [1e308, 0.1]}
    history = training.train(net, [[2.0]], [[1.0]], **options)
    assert np.isfinite(history.loss).all()
    assert history.diverged_at.tolist() == [1, -1]


def test_only_the_trainable_parameters_move(data):
    for wanted, moved in (
        (["gamma", "beta1"], {"gamma1", "gamma2", "beta1"}),
        (["W3", "b3"], {"W3", "b3"}),
    ):
        net = SeedBatchedMLP(ARMS["batch"], SEEDS)
        start = net.params
        training.train(net, *data, **RECIPE, trainable=wanted)
        assert {k for k in start if not torch.equal(start[k], net.params[k])} == moved


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_masked_training_moves_exactly_the_chosen_weights(optimizer, data):
    net = SeedBatchedMLP(Spec((6, 12, 10, 3), activation="tanh"), SEEDS)
    start, rng = net.params, np.random.default_rng(0)
    masks = {k: torch.from_numpy(rng.random(start[k].shape) < 0.1) for k in ("W1", "W2", "W3")}
    training.train(net, *data, **RECIPE, optimizer=optimizer, trainable=list(masks), masks=masks)
    for name, mask in masks.items():
        assert torch.equal(net.params[name] != start[name], mask)
    assert torch.equal(net.params["gamma1"], start["gamma1"])


def test_decay_shrinks_trained_weight_matrices_and_nothing_else(data):
    """One step by hand: W <- W - lr (g + decay W)."""
    runs = {}
    for decay in (0.0, 0.1):
        net = SeedBatchedMLP(Spec((6, 8, 3)), SEEDS)
        start = {name: value.clone() for name, value in net.params.items()}
        recipe = {"steps": 1, "batch": 32, "lr": 0.5, "weight_decay": decay}
        training.train(net, *data, trainable=["W1", "gamma", "beta", "b"], **recipe)
        runs[decay] = net.params
    for name, value in start.items():
        shrunk = (0.5 * 0.1 if name == "W1" else 0.0) * value
        torch.testing.assert_close(runs[0.1][name], runs[0.0][name] - shrunk)
    for wrong in ({"weight_decay": -1.0}, {"weight_decay": 0.1, "optimizer": "adam"}):
        with pytest.raises(ValueError, match="weight_decay: expected"):
            training.Recipe(steps=1, batch=2, lr=0.1, **wrong)


def test_masked_weights_do_not_decay(data):
    net = SeedBatchedMLP(Spec((6, 8, 3)), SEEDS)
    start, mask = net.params["W1"].clone(), torch.rand(len(SEEDS), 8, 6) > 0.5
    recipe = {"steps": 3, "batch": 32, "lr": 0.1, "weight_decay": 0.5}
    training.train(net, *data, masks={"W1": mask}, **recipe)
    assert torch.equal(net.params["W1"][~mask], start[~mask])
    assert not torch.equal(net.params["W1"][mask], start[mask])


def test_first_step_of_gradient_descent_by_hand():
    # One weight w, one row x = 2, target 1, loss (2 w - 1)^2: dw = 4 (2 w - 1), lr 1/16.
    net = SeedBatchedMLP(Spec((1, 1), norm=()), [5])
    net.params = {"W1": torch.tensor([[[2.0]]]).double(), "b1": torch.zeros(1, 1).double()}
    seen = []

    def watch(step):
        seen.append((float(step.loss), float(step.grads["W1"])))

    how = {"steps": 1, "batch": 1, "lr": 1 / 16, "loss": "mse"}
    training.train(net, [[2.0]], [[1.0]], **how, on_step=watch)
    assert seen == [(9.0, 12.0)]
    assert net.params["W1"].item() == 2.0 - 12 / 16
    assert net.params["b1"].item() == -6 / 16


def test_accuracy_counts_rows_and_calls_nan_wrong():
    net = SeedBatchedMLP(Spec((2, 2), norm=()), [0, 1])
    flip = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
    net.params = {
        "W1": torch.stack([torch.eye(2).double(), flip]),
        "b1": torch.zeros(2, 2).double(),
    }
    x, y = [[3.0, 1.0], [2.0, 5.0], [0.0, 1.0], [9.0, 8.0]], [0, 1, 1, 1]
    np.testing.assert_array_equal(training.accuracy(net, x, y), [0.75, 0.25])
    net.params["b1"][1, 0] = float("nan")
    np.testing.assert_array_equal(training.accuracy(net, x, y), [0.75, 0.0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps: expected a whole number >= 1, got 0"),
        ({"steps": 2.0}, "steps: expected a whole number"),
        ({"batch": 41}, "batch: expected 1 to n = 40"),
        ({"batch": 1}, "expected m >= 2 rows"),
        ({"lr": 0.0}, "lr: expected finite rates > 0"),
        ({"lr": float("nan")}, "lr: expected finite rates > 0"),
        ({"lr": [0.1, 0.1]}, "lr: expected one rate or 3"),
        ({"optimizer": "sdg"}, "did you mean 'sgd'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"loss": "mae"}, "loss: expected one of"),
        ({"momentum": 1.0}, "momentum: expected 0 <= momentum < 1"),
        ({"momentum": 0.9, "optimizer": "adam"}, "adam has its own"),
        ({"trainable": ["gama"]}, "did you mean 'gamma'"),
        ({"trainable": []}, "at least one parameter"),
        ({"masks": {"W9": torch.ones(1)}}, "masks: expected one of"),
        ({"masks": {"W1": torch.ones(3, 12, 5, dtype=torch.bool)}}, r"\['W1'\]: expected bool"),
        ({"order": torch.zeros(2, 3, 8, dtype=torch.int64)}, "order: expected row numbers"),
        ({"order": torch.full((25, 3, 8), 40)}, r"order: .*0\.\.39"),
    ],
    ids=lambda v: str(v)[:40] if isinstance(v, dict) else "",
)
def test_a_recipe_that_cannot_work_is_refused_before_the_first_step(change, message, data):
    net = SeedBatchedMLP(ARMS["batch"], SEEDS)
    start, called = net.params, []
    with pytest.raises(ValueError, match=message):
        training.train(net, *data, **{**RECIPE, **change}, on_step=called.append)
    assert net.params is start
    assert not called


def test_an_unknown_option_and_a_frozen_norm_without_statistics_are_refused(data):
    with pytest.raises(TypeError, match="nesterov"):
        training.train(SeedBatchedMLP(ARMS["batch"], SEEDS), *data, **RECIPE, nesterov=True)
    with pytest.raises(ValueError, match="'frozen': expected stats"):
        training.train(SeedBatchedMLP(Spec((6, 12, 3), norm="frozen"), SEEDS), *data, **RECIPE)


def test_one_thread_lasts_as_long_as_its_block_even_if_that_fails():
    @training.one_thread()
    def fails():
        raise ValueError(torch.get_num_threads())

    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="1"):
        fails()
    assert torch.get_num_threads() == before
