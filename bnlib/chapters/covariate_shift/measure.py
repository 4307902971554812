"""What the chapter measures: shift of gradients, the landscape, and the way of the gradient down.

All arms of a seed share weights and one stream of mini-batches. A walk trains in float32; what is
measured on the way is measured in float64, on the batch of the step that comes next. Its pace is
(rate, share): eta = rate, or share L / |g|^2 where share > 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.linalg import block_diag
from torch import Tensor
from torch.nn import functional

from bnlib import data, interactions, landscape
from bnlib.interactions import LONGEST, Function, Params, Problem, layer_dots, layers, moved
from bnlib.networks import arms
from bnlib.networks.batches import batch_order
from bnlib.networks.seed_batched import Statistics, forward, trace
from bnlib.networks.spec import Spec
from bnlib.parameters import expect
from bnlib.statistics import rows_with

STEP_RULES = ("same rate", "own best rate", "equal promise")
DECREASE = 0.1  # predicted relative decrease of the loss under the rule "equal promise"
SHIFTS = {"relative": "relative shift", "cosine": "cosine"}  # compared along walks
MEASURES = ("range", "change", "smoothness")
STATES = ("start", "trained")
NOISE = 7  # stream of a seed
CLEAN = 512  # training rows of the clean loss
AVERAGED = 10  # batches in the running mean of a loss, as batches differ from step to step
LAYERS, COORDINATES = 4, 5  # of the quadratic: blocks, and their size
CONSECUTIVE = "difference of consecutive training gradients"
GRADIENT = "gradient norm"
RELU_FACTOR = math.pi / (math.pi - 1)
"""Growth of the squared gradient per layer: wide ReLU network with BN, gamma = 1, beta = 0, at the
start. Var relu(N(0, 1)) = 1/2 - 1/(2 pi); He weights double it, and the backward pass divides by
it:  2 (1/2) / (1 - 1/pi)."""

Step = float | Tensor
Pace = tuple[float, float]


# The bench


def step_sizes(paces: Sequence[Pace], loss: Tensor, square: Tensor) -> Tensor:
    """eta of K S networks, pace k for copy k of the S networks.  loss, square: L, |g|^2, (K S,)."""
    pace = torch.tensor(paces, dtype=torch.float64)
    rate, share = pace.T.repeat_interleave(len(loss) // len(pace), dim=1)
    matched = (share * loss / square).clamp(max=LONGEST)
    return torch.where(share > 0, matched, rate).to(loss.dtype)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the rows of each network, (S,).  logits: (S, m, k).  labels: (S, m)."""
    return functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)


class Bench(NamedTuple):
    """What all measurements of a page share: rows, seeds, sizes of networks, length of walks."""

    rows: data.Split  # of tensors, standardized
    seeds: Sequence[int] = range(4)
    width: int = 32
    batch: int = 64
    eps: float = 1e-5
    steps: int = 60
    every: int = 10  # steps between measurements

    def independent(self, count: int, inputs: int = 512) -> Bench:
        """The bench on rows of independent normal numbers, which lie in all directions alike."""
        rng = np.random.default_rng(0)
        x = torch.from_numpy(rng.standard_normal((count, inputs)))
        y = torch.from_numpy(rng.integers(self.rows.classes, size=count))
        return self._replace(rows=data.Split(x, y, x[:1], y[:1]))

    def stream(self, steps: int) -> Tensor:
        """Row numbers (steps, S, m): the mini-batches of each seed, the same in every arm."""
        return batch_order(self.seeds, len(self.rows.x_train), batch=self.batch, steps=steps)

    def problem(self, arm: arms.Arm, chosen: Tensor) -> Problem:
        """The arm with the batch of row numbers (S, m)."""
        return Problem(arm, self.rows.x_train[chosen], self.rows.y_train[chosen])

    def start(self, name: str, depth: int, activation: str = "relu") -> Problem:
        """The arm with `depth` weight matrices, and the first batch of each seed.

        "frozen" has the statistics of that batch.
        Raises ValueError for depth < 2, where no layer is below another.
        """
        expect(depth >= 2, "depth", "at least 2 weight matrices, one below another", depth)
        sizes = (self.rows.x_train.shape[1], *(self.width,) * (depth - 1), self.rows.classes)
        first = self.stream(1)[0]
        x, options = self.rows.x_train[first], {"activation": activation, "eps": self.eps}
        return self.problem(arms.build(name, sizes, self.seeds, x, **options), first)

    def walk(
        self,
        arm: arms.Arm,
        paces: Sequence[Pace],
        *,
        every: int | None = None,
        logits: Callable[..., Tensor] | None = None,
    ) -> Iterator[tuple[int, Problem]]:
        """Plain SGD of the S networks of an arm at each of K paces, in float32.

        Yields the step and the K S networks in float64, with the batch of that step, every `every`
        steps before the update; and, with the last batch, the end.
        logits(step, params, x): what the networks compute, by default the arm.
        A network that diverges becomes NaN and leaves the others as they are.
        """
        wide, x, y = arm.repeated(len(paces)), self.rows.x_train.float(), self.rows.y_train
        small = wide.each(Tensor.float)
        params, order = small.params, self.stream(self.steps).repeat(1, len(paces), 1)
        for step, chosen in enumerate(order):
            if step % (every or self.every) == 0:
                yield step, self.problem(_with(wide, params), chosen)
            compute: Any = partial(logits, step) if logits else small.logits
            loss_of = lambda p: cross_entropy(compute(p, x[chosen]), y[chosen])  # noqa: B023, E731
            loss, grads = interactions.gradient(loss_of, params)
            square = torch.as_tensor(sum(g.flatten(1).square().sum(1) for g in grads.values()))
            params = interactions.stepped(params, grads, -step_sizes(paces, loss, square))
        yield self.steps, self.problem(_with(wide, params), order[-1])

    def sweep(
        self, arm: arms.Arm, rates: Sequence[float], logits: Callable[..., Tensor] | None = None
    ) -> tuple[int, np.ndarray, arms.Arm]:
        """The place of the best of R rates, clean losses (R, S) and the R S networks at the end.

        Clean: on the first training rows as one batch; infinite where not finite.
        """
        paces = [(rate, 0.0) for rate in rates]
        *_, (_, end) = self.walk(arm, paces, every=self.steps, logits=logits)
        x, y, many = self.rows.x_train[:CLEAN], self.rows.y_train[:CLEAN], len(end.x)
        with torch.no_grad():
            out = end.arm.logits(end.arm.params, x.expand(many, *x.shape))
        loss = cross_entropy(out, y.expand(many, -1)).numpy().reshape(len(rates), -1)
        losses = np.nan_to_num(loss, nan=np.inf, posinf=np.inf)
        return int(np.median(losses, axis=1).argmin()), losses, end.arm


def load(dataset: str, *sizes: Any) -> Bench:
    """The bench on the split of seed 0 of "digits", "mnist1d" or an `.npz`, standardized."""
    split = data.load(dataset, 0)
    x, n = data.standardized(np.concatenate([split.x_train, split.x_test])), len(split.x_train)
    parts = x[:n], split.y_train, x[n:], split.y_test
    return Bench(data.Split(*map(torch.from_numpy, parts)), *sizes)


def _with(arm: arms.Arm, params: Params) -> arms.Arm:
    return replace(arm, params={name: value.detach().double() for name, value in params.items()})


# One object: the interaction of a step, and integrals of covariate shift


class Point:
    """S networks with one batch each: the interaction of a step, and what integrals say of it."""

    def __init__(self, at: Problem):
        self.of, self.params = at.loss, at.arm.params
        self.loss, self.grads = interactions.gradient(self.of, self.params)
        self.squares = interactions.layer_dots(self.grads, self.grads)  # |g_l|^2, (S, L)
        self.square = self.squares.sum(1)
        self.down = {name: -grad for name, grad in self.grads.items()}

    def step(self, decrease: float) -> Tensor:
        """The step with this predicted relative decrease of the loss, (S,)."""
        return interactions.match_loss(self.loss, -self.square, decrease)

    def interaction(self, step: Step) -> Tensor:
        """INT, (S,)."""
        values = interactions.corners(self.of, self.params, self.down, step)
        return interactions.step_split(values, -step * self.square).inter

    def change(self, step: Step) -> landscape.Ics:
        """How the steps of the layers below change each layer's gradient."""
        return landscape.ics_change(self.of, self.params, self.grads, step)

    def left_endpoint(self, step: Step) -> Tensor:
        """The integral by its integrand at t = 0, (S,): covariate shift as it is published."""
        return -step * self.change(step).projection.sum(1)

    def integral(self, step: Step, **rule: int) -> Tensor:
        """The right side of the theorem, (S,).  rule: nodes and panels of `ics_integral`."""
        return ics_integral(self.of, self.params, self.grads, step, **rule)


def ics_integral(
    loss_fn: Function,
    params: Params,
    grads: Params,
    step: float | Tensor,
    *,
    nodes: int = 12,
    panels: int = 1,
) -> Tensor:
    """The interaction as an integral of covariate shift along each layer's own step, (S,).

        INT = -eta sum_i int_0^1 g_i.(G'_i(t) - G_i(t)) dt

    with layer i at theta_i - t eta g_i in both G'_i and G_i; Gauss and Legendre's rule with `nodes`
    places on each of `panels` equal parts.
    Consequences: exact for smooth L up to the rule's error; one node is the midpoint rule, whose
    error is O(eta^4); ReLU has kinks, so more panels help and more nodes hardly do.
    Raises ValueError for less than one node or panel.
    """
    direction, numbers = {name: -grad for name, grad in grads.items()}, layers(params)
    places, weights = _quadrature(nodes, panels)
    size = torch.as_tensor(step, dtype=torch.float64)
    total = torch.zeros(len(next(iter(params.values()))), dtype=torch.float64)
    for place, number in enumerate(numbers[1:], start=1):
        masks = np.zeros((2, len(places), len(numbers)))
        masks[1, :, :place] = 1
        masks[:, :, place] = places
        point = moved(params, direction, masks.reshape(-1, len(numbers)), size)
        new = landscape.layer_gradient(loss_fn, point, number)
        old = {k: grads[k].repeat(len(places) * 2, *[1] * (grads[k].ndim - 1)) for k in new}
        dots = layer_dots(new, old).sum(1).unflatten(0, (2, len(places), -1))
        total += torch.einsum("n,ns->s", torch.from_numpy(weights), dots[1] - dots[0])
    return -size * total


def _quadrature(nodes: int, panels: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in (0, 1) and weights of Gauss and Legendre's rule on equal panels."""
    for name, value in {"nodes": nodes, "panels": panels}.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: expected a whole number >= 1, got {value!r}")
    at, weight = np.polynomial.legendre.leggauss(nodes)
    places = (np.arange(panels)[:, None] + (1 + at) / 2) / panels
    return places.ravel(), np.tile(weight / 2 / panels, panels)


RULES: dict[str, Callable[..., Tensor]] = {
    "left endpoint": Point.left_endpoint,
    "midpoint": partial(Point.integral, nodes=1),
    "12 nodes": partial(Point.integral, nodes=12),
}


class Theorem(NamedTuple):
    """Integrals against the interaction, without norm and with BN."""

    points: dict[str, Point]  # of tanh networks
    steps: np.ndarray  # (K,)
    misses: dict[str, dict[str, np.ndarray]]  # arm -> `residuals`
    slopes: dict[str, float]  # of the left endpoint
    error: float
    relu_error: float


def theorem(bench: Bench, depth: int) -> Theorem:
    """The theorem at a predicted decrease of one half, and its corollary at falling steps."""
    smooth, kinked = (
        {name: Point(bench.start(name, depth, activation)) for name in ("none", "bn")}
        for activation in ("tanh", "relu")
    )
    steps = 2.0 ** -np.arange(1, 9)
    misses = {name: residuals(point, steps) for name, point in smooth.items()}
    slopes = {name: slope(steps, missed["left endpoint"]) for name, missed in misses.items()}
    errors = theorem_error(smooth, nodes=12), theorem_error(kinked, nodes=4, panels=16)
    return Theorem(smooth, steps, misses, slopes, *errors)


def theorem_error(points: Mapping[str, Point], **rule: int) -> float:
    """Largest relative error of the theorem over arms and seeds at a predicted decrease of 1/2."""
    pairs = [(p.integral(p.step(0.5), **rule), p.interaction(p.step(0.5))) for p in points.values()]
    return max(float(((integral - inter).abs() / inter.abs()).max()) for integral, inter in pairs)


def residuals(point: Point, steps: np.ndarray) -> dict[str, np.ndarray]:
    """|quadrature - INT| of every rule at K steps, median over seeds, (K,)."""
    inter = {step: point.interaction(step) for step in steps}
    return {
        name: np.array([np.median((rule(point, s) - i).abs()) for s, i in inter.items()])
        for name, rule in RULES.items()
    }


def slope(steps: np.ndarray, values: np.ndarray) -> float:
    """Slope on double logarithmic axes over the smallest decade of steps; (K,) both."""
    least = steps <= 10 * steps.min()
    return float(np.polyfit(np.log(steps[least]), np.log(values[least]), 1)[0])


def on_the_way(bench: Bench, depth: int, rates: Sequence[float]) -> pd.DataFrame:
    """`follow` of tanh networks without norm and with BN at every rate."""
    paces = {f"{rate:g}": (rate, 0.0) for rate in rates}
    starts = {name: bench.start(name, depth, "tanh").arm for name in ("none", "bn")}
    frames = [follow(bench, arm, paces).assign(arm=name) for name, arm in starts.items()]
    return pd.concat(frames, ignore_index=True)


# Who shifts less


def shift_at(point: Point, step: Tensor) -> dict[str, Any]:
    """Everything about one step on one batch, (S,) each; rho: S times (L,).

    norm, relative, cosine: means over the layers i >= 2.  int: INT / (eta |g|^2).
    sum: -sum s_i rho_i with s_i = |g_i|^2/|g|^2 and rho_i = g_i.(G'_i - G_i)/|g_i|^2.
    """
    change = point.change(step)
    values = {name: getattr(change, name)[:, 1:].mean(1) for name in ("norm", *SHIFTS)}
    values |= {"loss": point.loss, "step": step}
    values["int"] = point.interaction(step) / (step * point.square)
    values["sum"] = -change.projection.sum(1) / point.square
    return {**values, "rho": list((change.projection / point.squares).numpy())}


def follow(bench: Bench, arm: arms.Arm, paces: Mapping[str, Pace]) -> pd.DataFrame:
    """`shift_at` along walks, one row a pace ("rule"), step and seed; the start is dropped."""
    frames, each = [], list(paces.values())
    where = {"rule": np.repeat(list(paces), len(bench.seeds)), "seed": [*bench.seeds] * len(paces)}
    for step, at in bench.walk(arm, each):
        if 0 < step < bench.steps:
            point = Point(at)
            shifts = shift_at(point, step_sizes(each, point.loss, point.square))
            frames.append(pd.DataFrame({**where, "at": step, **shifts}))
    return pd.concat(frames, ignore_index=True)


def survey_shift(
    bench: Bench,
    names: Sequence[str],
    cells: tuple[Sequence[str], Sequence[int], Sequence[str]],
    rate: float,
    rates: Sequence[float],
) -> pd.DataFrame:
    """`follow` in all cells (activations, depths, rules) and arms; outside ReLU none and bn only.

    rate: that all arms share.  rates: among which four seeds choose an arm's own best one.
    """
    activations, depths, rules = cells
    few, frames = bench._replace(seeds=bench.seeds[:4]), []
    for activation, depth, name in product(activations, depths, names):
        if activation != "relu" and name not in ("none", "bn"):
            continue
        paces = {rule: (rate, DECREASE if rule == "equal promise" else 0.0) for rule in rules}
        if "own best rate" in rules:
            best = few.sweep(few.start(name, depth, activation).arm, rates)[0]
            paces["own best rate"] = (rates[best], 0.0)
        walked = follow(bench, bench.start(name, depth, activation).arm, paces)
        frames.append(walked.assign(activation=activation, L=depth, arm=name))
    return pd.concat(frames, ignore_index=True)


def by_layer(survey: pd.DataFrame, rule: str, names: Sequence[str]) -> pd.DataFrame:
    """Median of rho over the walks of one rule: a row a depth and arm, a column a layer from 1."""
    walks = rows_with(survey, rule=rule).groupby(["L", "arm"]).rho
    medians = {
        cell: pd.Series(np.nanmedian(np.stack(walks.get_group(cell).to_list()), axis=0))
        for cell in product(survey["L"].unique(), names)
        if cell in walks.groups
    }
    layers = pd.DataFrame(medians).T.rename(columns=lambda i: i + 1)
    return layers.rename_axis(["L", "arm"]).rename_axis("layer", axis=1)


def shift_bands(survey: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The three quartiles over finite seeds of both shifts: a row a depth, rule, arm and place."""
    where, three, bands = ["L", "rule", "arm", "at"], np.array([0.25, 0.5, 0.75]), {}
    for what in SHIFTS:
        rows = survey[np.isfinite(survey[what])].groupby(where)[what]
        bands[what] = pd.DataFrame(rows.quantile(three).unstack())
    return bands


# Noise after the norm


class Noise(NamedTuple):
    """What is added to and what multiplies each entry; the shape of the output, (S, m, c)."""

    shift: Tensor
    scale: Tensor


def draw(bench: Bench, depth: int, scale: float, step: int) -> dict[int, Noise]:
    """The noise of one step at every hidden site, (S, m, c) float32 each; none at scale 0.

    Per unit and step  mu ~ U(-1/2, 1/2),  s ~ U(1, 5/4);  per row  n ~ N(0, 1),  q ~ U(-1, 1):

        y <- y (s + n/10) + (mu + q/10)

    From the seed and the number of the step, so that every arm and rate meets the same noise, and
    G and G' of one step too.
    """
    rngs = [np.random.default_rng((seed, NOISE, step)) for seed in bench.seeds]
    unit, rows, noise = (1, bench.width), (bench.batch, bench.width), {}
    for site in range(1, depth) if scale else ():
        drawn = [
            (rng.uniform(-0.5, 0.5, unit), rng.uniform(0, 0.25, unit), rng.standard_normal(rows))
            for rng in rngs
        ]
        mu, s, n = (np.stack(part) for part in zip(*drawn, strict=True))
        q = np.stack([rng.uniform(-1, 1, rows) for rng in rngs])
        pair = scale * (mu + q / 10), 1 + scale * (s + n / 10)
        noise[site] = Noise(*(torch.from_numpy(value).float() for value in pair))
    return noise


def noisy(bench: Bench, arm: arms.Arm, scale: float) -> Callable[..., Tensor]:
    """What an arm computes under noise: (step, params of K S networks, x, seen) -> (K S, m, k).

    x: (S, m, d) or (K S, m, d).  seen: receives what enters every activation.
    """
    noise_of = lru_cache(1)(partial(draw, bench, len(arm.spec.sizes) - 1, scale))

    def logits(step: int, params: Params, x: Tensor, seen: Any = None) -> Tensor:
        noise = noise_of(step)

        def after(site: int, y: Tensor) -> Tensor:
            if site in noise:
                shift, factor = (arms.tiled(v, len(y) // len(v)).to(y.dtype) for v in noise[site])
                y = torch.addcmul(shift, y, factor)
            if seen is not None:
                seen[site] = y
            return y

        return forward(arm.spec, params, arms.tiled(x, len(params["W1"]) // len(x)), after=after)

    return logits


def noisy_walk(
    bench: Bench, arm: arms.Arm, compute: Callable[..., Tensor], rate: float
) -> dict[str, np.ndarray]:
    """Along the way of one arm: loss of the noisy batches and both kinds of shift, (T, S) each.

    distribution: change of mean and of sd of every unit's input from one step to the next, root
    mean square over units, in units of the unit's sd.  relative: ||G'_i - G_i||/||G_i||, mean over
    layers i >= 2, the same noise in both.
    """
    lines, moments = {"loss": [], "distribution": [], "relative": []}, []
    for step, at in bench.walk(arm, [(rate, 0.0)], every=1, logits=compute):
        if step == bench.steps:
            break
        params, seen = at.arm.params, {}
        with torch.no_grad():
            lines["loss"].append(at.loss_of(compute(step, params, at.x, seen)))
        moments.append(torch.stack([torch.stack([y.mean(1), y.std(1)]) for y in seen.values()]))
        if step:
            jump = (moments[-1] - moments[-2]) / moments[-1][:, 1:]
            lines["distribution"].append(jump.square().sum(1).mean((0, 2)).sqrt())
        if step and step % bench.every == 0:
            loss_fn = lambda p: at.loss_of(compute(step, p, at.x))  # noqa: B023, E731
            _, grads = interactions.gradient(loss_fn, params)
            change = landscape.ics_change(loss_fn, params, grads, rate)
            lines["relative"].append(change.relative[:, 1:].mean(1))
    return {name: torch.stack(line).numpy() for name, line in lines.items()}


def noise_run(
    bench: Bench, depth: int, name: str, rates: Sequence[float], scale: float
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """An arm, "noisy bn" with the noise, at its own best rate: a row a seed, and `noisy_walk`.

    Clean loss and test accuracy at the end: noise off, batch statistics; test rows get those of the
    training rows.
    """
    arm, size = bench.start(name.removeprefix("noisy "), depth).arm, scale * ("noisy" in name)
    compute = noisy(bench, arm, size)
    best, losses, ends = bench.sweep(arm, rates, compute if size else None)
    with torch.no_grad():
        out = ends.evaluated(ends.params, bench.rows.x_train, bench.rows.x_test)
    right = (out.argmax(-1) == bench.rows.y_test) & torch.isfinite(out).all(-1)
    accuracy = right.double().mean(1).reshape(len(rates), -1)[best]
    where = {"L": depth, "arm": name, "seed": list(bench.seeds), "rate": rates[best]}
    judged = {"loss": losses[best], "accuracy": accuracy, "edge": best in (0, len(rates) - 1)}
    return pd.DataFrame({**where, **judged}), noisy_walk(bench, arm, compute, rates[best])


def survey_noise(
    bench: Bench, depth: int, rates: Sequence[float], scale: float
) -> tuple[pd.DataFrame, dict[str, dict[str, np.ndarray]]]:
    """`noise_run` of the four arms: a row an arm and seed, and the walk of each."""
    runs = {
        name: noise_run(bench, depth, name, rates, scale)
        for name in ("none", "noisy none", "bn", "noisy bn")
    }
    walks = {name: walk for name, (_, walk) in runs.items()}
    return pd.concat([frame for frame, _ in runs.values()], ignore_index=True), walks


def noise_table(runs: Mapping[int, tuple[pd.DataFrame, Mapping[str, Any]]]) -> pd.DataFrame:
    """Medians over seeds of what `survey_noise` gave, depth -> result: a row a depth and arm."""
    ends = pd.concat(frame for frame, _ in runs.values()).groupby(["L", "arm"], sort=False)
    table = ends[["rate", "loss", "accuracy", "edge"]].median().astype({"edge": bool})
    for column, what in (("distribution shift", "distribution"), ("gradient shift", "relative")):
        cells: list[Any] = table.index.to_list()
        table[column] = [np.nanmedian(runs[depth][1][name][what]) for depth, name in cells]
    return pd.DataFrame(table)


def noise_lines(walks: Mapping[str, Mapping[str, Any]], steps: int) -> dict[str, dict[str, tuple]]:
    """Medians over seeds along the run: "loss", "distribution", "relative" -> arm -> (x, y)."""
    lines: dict[str, dict[str, tuple]] = {"loss": {}, "distribution": {}, "relative": {}}
    for (what, of), (name, walk) in product(lines.items(), walks.items()):
        y = np.nanmedian(walk[what], axis=1)
        x = np.linspace(0, steps, len(y)) if what == "relative" else np.arange(len(y))
        if what == "loss":
            x, y = x[AVERAGED - 1 :], np.convolve(y, np.ones(AVERAGED) / AVERAGED, "valid")
        of[name] = x, y
    return lines


# Smoothness along the gradient


def survey_smoothness(
    bench: Bench, names: Sequence[str], depth: int, rate: float, sizes: Mapping[str, Sequence]
) -> pd.DataFrame:
    """One row an arm, place on the way, unit and seed.  sizes: the steps looked along, by unit."""
    frames = []
    for name in names:
        for step, at in bench.walk(bench.start(name, depth).arm, [(rate, 0.0)]):
            if step == bench.steps:
                break
            point = Point(at)
            kappa = interactions.curvature_split(point.of, point.params, point.down).kappa
            where = {"arm": name, "at": step, "seed": list(bench.seeds), "kappa": kappa}
            where |= {"loss": point.loss, "gradient": point.square.sqrt()}
            for unit in landscape.UNITS:
                values = landscape.smoothness(point.of, point.params, unit, sizes[unit])
                columns = {k: v if v.ndim < 2 else list(v.T.numpy()) for k, v in values.items()}
                frames.append(pd.DataFrame({**where, "unit": unit, **columns}))
    return pd.concat(frames, ignore_index=True)


def envelopes(walked: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Least, middle and largest value of both lines along the steps, each the median over seeds.

    "loss-line", "change-line" -> a row a unit, arm and place.
    """
    three, where = {"low": np.min, "middle": np.median, "high": np.max}, ["unit", "arm", "at"]
    bands = {}
    for line in ("loss-line", "change-line"):
        columns = {name: walked[line].map(of) for name, of in three.items()}
        bands[line] = walked[where].assign(**columns).groupby(where).median()
    return bands


def equal_loss(walked: pd.DataFrame, level: float) -> pd.DataFrame:
    """The rows of each arm and seed at the place where its loss is nearest to `level`."""
    gap = np.abs(np.log(walked.loss / level))
    return pd.DataFrame(walked[gap == gap.groupby([walked.arm, walked.seed]).transform("min")])


# The gradient on its way down


def mean_factor(norms: Tensor) -> Tensor:
    """Geometric mean of  ||dL/dz_l||^2 / ||dL/dz_{l+1}||^2  over l = 2 ... L - 2, (S,).

    norms: (S, L).  Layer 1 is left out, whose norm divides by the spread of the inputs, and the
    output layer, which no activation follows.
    Raises ValueError for fewer than four layers, where nothing is left.
    """
    last = norms.shape[1] - 1
    if last < 3:
        raise ValueError(f"norms: expected at least 4 layers, got {last + 1}: no pair inside")
    return (norms[:, 1] / norms[:, last - 1]) ** (1 / (last - 2))


def inverse_variance(
    params: Params, x: Tensor, spec: Spec, *, stats: Statistics | None = None
) -> Tensor:
    """Mean of 1/(sigma^2 + eps) over units, geometric mean over l = 2 ... L - 2, (S,); 1 if plain.

    A backward layer of a wide ReLU network divides by sigma^2 unit by unit, so this replaces
    1/(1 - 1/pi) where the units' variances differ:  <1/sigma^2> >= 1/<sigma^2>.
    """
    used = trace(spec, params, x, stats=stats).stats
    inner = [used[site].var + spec.eps for site in used if 2 <= site <= len(spec.sizes) - 3]
    means = [(1 / var).mean(1) for var in inner] or [torch.ones(len(x), dtype=x.dtype)]
    return torch.stack(means, 1).log().mean(1).exp()


def survey_growth(
    bench: Bench,
    names: Sequence[str],
    depth: int,
    sizes: Sequence[Sequence[int]],
    activation: str = "relu",
) -> tuple[pd.DataFrame, dict[tuple[str, int, int], np.ndarray]]:
    """Growth factor of the squared gradient per layer: a row an arm, size, state and seed.

    sizes: (width, batch).  state: "start", or "one step": after the step with the whole loss as
    predicted decrease.  Also ||dL/dz_l||^2 relative to the last hidden layer, (S, depth - 1), at
    the start, by (arm, width, batch).  inverse: `inverse_variance`.
    """
    frames, profiles = [], {}
    for (width, batch), name in product(sizes, names):
        at = bench._replace(width=width, batch=batch).start(name, depth, activation)
        point, (x, y, arm) = Point(at), (at.x, at.y, at.arm)
        end = interactions.stepped(point.params, point.grads, -point.step(1.0))
        where = {"arm": name, "width": width, "batch": batch, "seed": list(bench.seeds)}
        for state, params in {"start": point.params, "one step": end}.items():
            norms = landscape.layer_gradient_norms(params, x, y, arm.spec, stats=arm.stats)
            inverse = inverse_variance(params, x, arm.spec, stats=arm.stats)
            factors = {"factor": mean_factor(norms), "inverse": inverse}
            frames.append(pd.DataFrame({**where, "state": state, **factors}))
            profiles.setdefault((name, width, batch), (norms[:, :-1] / norms[:, -2:-1]).numpy())
    return pd.concat(frames, ignore_index=True), profiles


def growth_table(growth: Mapping[str, pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Medians over seeds of `survey_growth` by kind of rows: factors, and <1/sigma^2> of BN."""
    rows, keys = pd.concat(growth, names=["rows"]), ["rows", "width", "batch", "state"]
    table = rows.pivot_table(index=keys, columns="arm", values="factor", aggfunc="median")
    inverse = rows_with(rows, arm="bn").groupby(keys).inverse.median()
    return table[list(names)].assign(**{"⟨1/σ²⟩ of bn": inverse})


# Proxies on a quadratic, where the truth is known: L(theta) = theta.H theta / 2, SGD sees a noisy
# gradient. Its "layers" are blocks of theta; "activations" are X theta_1 of a fixed batch X.


class Bowl(NamedTuple):
    """A quadratic: H (P, P) and a start (P,)."""

    hessian: np.ndarray
    start: np.ndarray


def bowl(seed: int, *, coupled: bool = True, factor: float = 1.0) -> Bowl:
    """Eigenvalues from 1/20 to 1, times a factor; without coupling each block has its own basis."""
    rng, blocks = np.random.default_rng(seed), 1 if coupled else LAYERS
    values, parts = factor * np.geomspace(0.05, 1.0, LAYERS * COORDINATES), []
    for block in range(blocks):
        basis = np.linalg.qr(rng.standard_normal((len(values) // blocks,) * 2))[0]
        parts.append(basis @ np.diag(values[block::blocks]) @ basis.T)
    hessian = np.asarray(block_diag(*parts))
    return Bowl((hessian + hessian.T) / 2, rng.standard_normal(len(values)))


def descent(at: Bowl, rate: float, noise: float, steps: int, seed: int) -> tuple[np.ndarray, ...]:
    """Points (T+1, P) and seen gradients (T, P) of SGD with normal noise of norm about `noise`."""
    rng, points, seen = np.random.default_rng(seed), [at.start], []
    for _ in range(steps):
        error = rng.standard_normal(len(at.start)) * noise / np.sqrt(len(at.start))
        seen.append(at.hessian @ points[-1] + error)
        points.append(points[-1] - rate * seen[-1])
    return np.array(points), np.array(seen)


def proxies(at: Bowl, rates: Sequence[float], noise: float, steps: int, seed: int) -> pd.Series:
    """Six usual proxies of one run at the first rate, then three truths.

    The first three and the drift are means over the run, as reproductions take them; the others
    belong to its start.  rates: their trajectories make the band.
    """
    rate, h = rates[0], at.hessian
    (points, seen), *_ = runs = [descent(at, r, noise, steps, seed) for r in rates]
    losses = [[theta @ h @ theta / 2 for theta in run] for run, _ in runs]
    g = h @ at.start
    size, bent = np.linalg.norm(g), np.linalg.norm(h @ g)
    x = np.random.default_rng(seed).standard_normal((64, COORDINATES))
    quantiles = np.quantile(points[:, :COORDINATES] @ x.T, (0.15, 0.5, 0.85), axis=1).T
    layer = np.arange(len(h)) // COORDINATES
    below = np.where(layer[:, None] > layer[None], h, 0.0)
    values = {
        CONSECUTIVE: np.linalg.norm(np.diff(seen, axis=0), axis=1).mean(),
        "band of the loss over trajectories of several rates": np.ptp(losses, axis=0).mean(),
        GRADIENT: np.linalg.norm(seen, axis=1).mean(),
        "gradient difference, not divided by the distance": rate * bent,
        "quantile drift of activations": np.abs(np.diff(quantiles, axis=0)).mean(),
        "gradient difference after all layers moved": rate * bent,
        "largest eigenvalue": np.linalg.eigvalsh(h)[-1],
        "gradient difference / distance, along the gradient": bent / size,
        "gradient difference after the layers below moved": rate * np.linalg.norm(below @ g),
    }
    return pd.Series(values, dtype=float)


def proxy_table(
    rates: Sequence[float], noises: Sequence[float], *, steps: int = 40, seeds: int = 5
) -> pd.DataFrame:
    """One row a measure: by what factor it changes when something changes, median over seeds.

    noise: from the least to the largest noise, at the least rate.  rate: from the least to the
    largest rate, without noise.  start: twice as far from the minimum.  2 H: twice the Hessian at
    half the rate, so that the path is the same.  uncoupled: to a block-diagonal Hessian.
    """
    ratios, slow = [], [rates[0], *rates]
    for seed in range(seeds):
        run, plain = partial(proxies, steps=steps, seed=seed), bowl(seed)
        far, half = plain._replace(start=2 * plain.start), [rate / 2 for rate in slow]
        base = run(plain, slow, 0.0)
        changed = {
            "noise": run(plain, slow, noises[-1]) / run(plain, slow, noises[0]),
            "rate": run(plain, [rates[-1], *rates], 0.0) / base,
            "start": run(far, slow, 0.0) / base,
            "2 H": run(bowl(seed, factor=2.0), half, 0.0) / base,
            "uncoupled": run(bowl(seed, coupled=False), slow, 0.0) / base,
        }
        ratios.append(pd.DataFrame(changed))
    return pd.concat(ratios).groupby(level=0, sort=False).median()
