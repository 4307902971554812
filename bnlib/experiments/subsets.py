"""Training only some parameters of a network that is otherwise left as initialized."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bnlib import data, statistics, training
from bnlib.experiments.ablation import held_out
from bnlib.laws import gate_rate
from bnlib.networks.batches import weight_mask
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec

SETTINGS = {"1 x 256": (256,), "3 x 128": (128, 128, 128)}
SUBSETS = ("all", "gamma, beta", "gamma", "beta", "random weights", "output layer")


def network(rows: data.Split, hidden: Sequence[int]) -> Spec:
    """Linear - BN - ReLU, repeated, and an output layer with a bias."""
    return Spec((rows.x_train.shape[-1], *hidden, rows.classes))


def choose(subset: str, net: SeedBatchedMLP) -> dict[str, Any]:
    """The options of `train` that train this subset alone.

    "random weights": as many weights as there are gammas and betas, uniform over all matrices.
    """
    last = len(net.spec.sizes) - 1
    if subset == "random weights":
        masks = weight_mask(net, 2 * sum(net.spec.sizes[1:-1]))
        return {"trainable": list(masks), "masks": masks}
    names = {
        "all": None,
        "gamma, beta": ["gamma", "beta"],
        "gamma": ["gamma"],
        "beta": ["beta"],
        "output layer": [f"W{last}", f"b{last}"],
    }
    return {"trainable": names[subset]}


def count(subset: str, net: SeedBatchedMLP) -> int:
    """Trained numbers of one network."""
    options = choose(subset, net)
    if "masks" in options:
        return int(sum(mask[0].sum() for mask in options["masks"].values()))
    wanted = options["trainable"] or list(net.params)
    kinds = (name for name in net.params if {name, name.rstrip("0123456789")} & set(wanted))
    return sum(net.params[name][0].numel() for name in kinds)


def run(
    name: str | Path,
    setting: str,
    subset: str,
    rows: data.Split,
    seeds: Sequence[int],
    *,
    rates: Sequence[float],
    steps: int,
    batch: int,
) -> dict[str, Any]:
    """Train one subset with Adam; the rate is chosen on held-out rows where several are given."""
    what, where = network(rows, SETTINGS[setting]), (rows.x_train, rows.y_train)
    net = SeedBatchedMLP(what, seeds, torch.float32)
    recipe: dict[str, Any] = {"steps": steps, "batch": batch, "optimizer": "adam"}
    recipe |= {"schedule": "cosine", **choose(subset, net)}
    rate, edge = rates[0], False
    if len(rates) > 1:
        held = held_out(rows.y_train)
        picked = training.pick_rate(
            what, seeds, *where, rates=rates, held_out=held, dtype=net.dtype, **recipe
        )
        rate, edge = picked.rate, picked.at_edge
    history = training.train(net, *where, lr=rate, **recipe)
    return {
        "data": Path(name).name,
        "setting": setting,
        "subset": subset,
        "trained": count(subset, net),
        "rate": rate,
        "edge": edge,
        "diverged": int(history.diverged.sum()),
        "chance": float(np.mean([np.bincount(y).max() / len(y) for y in rows.y_test])),
        **shape_of_scales(net),
        **training.scores(net, rows),
    }


def shape_of_scales(net: SeedBatchedMLP) -> dict[str, float]:
    """Shares of units with |gamma| < 0.05, with gamma < 0, and gated to less than 1 %."""
    hidden = range(1, len(net.spec.sizes) - 1)
    gamma, beta = (
        np.concatenate([net.params[f"{kind}{layer}"].numpy() for layer in hidden], 1)
        for kind in ("gamma", "beta")
    )
    shares = (np.abs(gamma) < 0.05, gamma < 0, gate_rate(gamma, beta) < 0.01)
    return {k: float(v.mean()) for k, v in zip(("small", "negative", "shut"), shares, strict=True)}


def beats_random_weights(runs: Sequence[dict[str, Any]]) -> tuple[str, list[statistics.Paired]]:
    """Verdict on "gamma and beta alone train well": one paired difference a setting, in points.

    A setting counts if gamma, beta beat as many random weights (95 % interval above 0) and reach
    at least three times the share of the most frequent class. holds: all settings, partly: some.
    """
    table = {(r["data"], r["setting"], r["subset"]): r for r in runs}
    pairs, wins = [], []
    for (name, setting, subset), r in table.items():
        if subset != "gamma, beta":
            continue
        own = 100 * np.array(r["accuracy"])
        other = 100 * np.array(table[name, setting, "random weights"]["accuracy"])
        pairs.append(statistics.paired_difference(own, other))
        wins.append(pairs[-1].low > 0 and own.mean() > 300 * r["chance"])
    return "holds" if all(wins) else "partly" if any(wins) else "fails", pairs


class Judged(NamedTuple):
    """A verdict, the paired differences behind it, setting by setting, and whose runs they are."""

    verdict: str
    pairs: list[statistics.Paired]
    source: str


def judge(runs: Sequence[dict[str, Any]], stored: Sequence[dict[str, Any]]) -> Judged:
    """The stored runs, unless there are none or these contradict them; then these.

    They contradict each other where intervals of the same setting lie on opposite sides of 0.
    """
    here = {(r["data"], r["setting"]) for r in runs}
    verdict, pairs = beats_random_weights(runs)
    shared = [r for r in stored if (r["data"], r["setting"]) in here]
    for own, other in zip(pairs, beats_random_weights(shared)[1], strict=False):
        if own.low > 0 > other.high or other.low > 0 > own.high:
            return Judged(verdict, pairs, "this run")
    if stored:
        return Judged(*beats_random_weights(stored), "the stored table")
    return Judged(verdict, pairs, "this run")
