"""Learning rates of small networks: the sweeps, what the first step says of them, and the ladder.

A cell is an activation and a number L of weight matrices; an architecture is an arm in a cell.
A frame has one row a seed; targets are in log2, so that one unit is one doubling of the rate.
"""

from __future__ import annotations

import json
from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy import stats
from torch import Tensor

from bnlib import interactions, statistics, sweep
from bnlib.data import bench_split
from bnlib.interactions import Function, Params, Problem, descend, stepped
from bnlib.networks import arms
from bnlib.networks.spec import BATCH_ORDER, seeded
from bnlib.stored import content
from bnlib.training import one_thread

RATES = tuple(2.0**k for k in range(-7, 7))
BATCH = 64
CHECKED = 512  # first training rows: final loss, frozen statistics
SMALL_STEP = 1e-2  # predicted decrease at which second differences are taken
HALVINGS = 30  # of the interval in which the loss first rises
R_GRID = np.logspace(-2, 1.5, 36)  # predicted decreases among which the loss first rises
BAD_STARTS = ("small", "big", "last-small", "bn-last-small")
LADDER = ("none", "frozen", "mean-only", "std-only", "bn", "bn-no-affine")
SCALE_FREE = ("std-only", "bn", "bn-no-affine")
RESET = ", reset"  # suffix of an arm whose hidden weight norms are reset after every step
CELL = ["activation", "L"]
DIRECTIONS = {"k_off": -1, "k_total": -1, "eps_up": 1, "baseline": 1, "share": -1}
KINDS = ["pooled", "within", "partial"]
BEYOND, APART = ("k_off", "beyond"), ("k_total", "minus share")  # rows that compare predictors


DIGESTS = {
    "register.toml": "0462997df7395fe9",  # as committed before any correlation was computed
    "full.json": "b2545a30f0609cca",
    "mnist1d.json": "96261d207f6bc3b3",
    "periods-register.toml": "c8107b3b0cab7796",  # as committed before any of it was run
    "periods.json": "1243cadad2aec3aa",
}
SMALL = {
    "exploration": [["relu", 4], ["relu", 8], ["tanh", 4], ["linear", 4]],
    "held_out": [["relu", 6], ["tanh", 6], ["gelu", 4], ["softplus", 4]],
}
BAD, LADDERS = [["relu", 4], ["relu", 8]], [[4, 80], [8, 80], [8, 320]]  # L, steps
Full = namedtuple("Full", "seeds steps threshold cells bad ladders")
FULL = {
    "digits": Full(10, 80, 0.5, "registered", BAD, LADDERS),
    "mnist1d": Full(3, 400, 0.75, SMALL, [], [[8, 400]]),
}


class Bench(NamedTuple):
    """What all networks of a run share; the defaults are those of the stored table of digits."""

    dataset: str = "digits"
    steps: int = 80
    threshold: float = 0.5  # of the final loss, in units of log k
    width: int = 32
    affine: bool = True  # whether normalized arms have gamma and beta


Architecture = tuple[str, int, str]  # activation, number L of weight matrices, arm
Runs = dict[Architecture, sweep.Sweep]


def architectures(cells: Iterable[Sequence[Any]], names: Sequence[str]) -> list[Architecture]:
    """Every arm in every cell; `bn-last-hidden` with two weight matrices is `bn` and left out."""
    every = [(activation, depth, name) for (activation, depth), name in product(cells, names)]
    return [place for place in every if place[1:] != (2, "bn-last-hidden")]


def start(bench: Bench, place: Architecture, seeds: Sequence[int]) -> arms.Arm:
    """The arm of a name as in `arms.build`, and "bn-last-small": BN, the last W times 0.1.

    Frozen statistics are those of the checked rows.
    """
    rows, (activation, depth, name) = bench_split(bench.dataset), place
    sizes = (rows.x_train.shape[1], *(bench.width,) * (depth - 1), rows.classes)
    checked = torch.from_numpy(rows.x_train[:CHECKED]).expand(len(seeds), -1, -1)
    known = "bn" if name == "bn-last-small" else name
    arm = arms.build(known, sizes, seeds, checked, activation=activation)
    params = dict(arm.params)
    if name != known:
        params[f"W{depth}"] = params[f"W{depth}"] * arms.LAST
    if not bench.affine:
        params = {n: v for n, v in params.items() if not n.startswith(("gamma", "beta"))}
        arm = replace(arm, spec=replace(arm.spec, scale=False, shift=False))
    return replace(arm, params=params)


def drawn(bench: Bench, seeds: Sequence[int]) -> Tensor:
    """Row numbers (steps, S, batch), with replacement, from each seed's own stream."""
    size, n = (bench.steps, BATCH), len(bench_split(bench.dataset).x_train)
    order = [seeded(s, BATCH_ORDER).integers(n, size=size) for s in seeds]
    return torch.from_numpy(np.stack(order, 1))


def swept(
    bench: Bench, place: Architecture, seeds: Sequence[int], rates: Sequence[float], **options: Any
) -> tuple[sweep.Sweep, dict[str, list[float]]]:
    """One architecture trained at every rate, and its targets as lists (S,).

    options: of `sweep.train_sweep`.
    """
    rows = bench_split(bench.dataset)
    options |= {"order": drawn(bench, seeds), "test": (rows.x_test, rows.y_test)}
    arm = start(bench, place, seeds)
    run = sweep.train_sweep(arm, rows.x_train, rows.y_train, rates, check=CHECKED, **options)
    largest = sweep.rate_targets(run, rates, classes=rows.classes, threshold=bench.threshold)
    return run, {name: np.asarray(value).tolist() for name, value in largest._asdict().items()}


def problem(bench: Bench, place: Architecture, seeds: Sequence[int]) -> Problem:
    """The start of an architecture with a batch of training rows for every seed, float64."""
    rows, arm = bench_split(bench.dataset), start(bench, place, seeds)
    shuffled = [seeded(s, BATCH_ORDER).permutation(len(rows.x_train)) for s in seeds]
    chosen = np.stack([order[:BATCH] for order in shuffled])
    x, y = (torch.from_numpy(part[chosen]) for part in (rows.x_train, rows.y_train))
    return Problem(arm, x, y)


def first_ascent(loss: Function, params: Params, direction: Params, steps: Tensor) -> Tensor:
    """Smallest step with  L(theta + step d) > L(theta),  (S,); infinite where no step has it.

    steps: (P, S), ascending, the step sizes looked at; between the first one that rises and its
    neighbor (0 for the first) the place is found by bisection. A loss that is not finite counts
    as risen.  loss: takes K S networks, copy k of network s in row k S + s.
    Consequence: for a quadratic loss and d = -g this is 2 |g|^2 / g.Hg.
    Raises ValueError for steps that are not positive and ascending: the first one would be missed.
    """
    if steps.ndim != 2 or not bool((steps.diff(dim=0, prepend=0 * steps[:1]) > 0).all()):
        raise ValueError(
            f"steps: expected (P, S), positive and ascending, got {tuple(steps.shape)}"
        )
    start = _along(loss, params, direction, 0 * steps[:1])[0]
    risen = ~(_along(loss, params, direction, steps) <= start)
    first = risen.to(torch.uint8).argmax(0)
    ends = torch.cat([0 * steps[:1], steps])
    low, high = (ends.gather(0, (first + k)[None])[0] for k in (0, 1))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        up = ~(_along(loss, params, direction, middle[None])[0] <= start)
        low, high = torch.where(up, low, middle), torch.where(up, middle, high)
    return torch.where(risen.any(0), high, torch.full_like(high, float("inf")))


@torch.no_grad()
def _along(loss: Function, params: Params, direction: Params, steps: Tensor) -> Tensor:
    """The loss at every step size, (P, S), as one program of P S networks."""
    steps = steps.to(next(iter(params.values())).dtype)
    copies = {k: v.flatten(0, 1) for k, v in stepped(params, direction, steps).items()}
    return loss(copies).unflatten(0, steps.shape)


def predictors(at: Problem, *, descended: int = 0) -> dict[str, list[float]]:
    """What the expansion of one gradient step says about rates, a list of S each.

        k_off, k_total    [INT(t) + INT(-t)] / (t^2 |g|^2),  the same of the whole change, at the
                          step t whose predicted decrease is L_0 / 100: signed, unit 1/rate
        eps_up            first rate at which the loss of the batch rises
        baseline          L_0 / |g|^2
        share             INT at a predicted halving, as a share of the predicted decrease
        hvp_off, hvp_total   as k_off, k_total, by Hessian-vector products, blind to kinks

    descended: so many matched steps from the start first.
    """
    params = descend(at, steps=descended) if descended else dict(at.arm.params)
    loss, grads = interactions.gradient(at.loss, params)
    square = interactions.layer_dots(grads, grads).sum(1)
    down = {name: -grad for name, grad in grads.items()}

    def split(step: Tensor) -> Any:
        values = interactions.corners(at.loss, params, down, step)
        return interactions.step_split(values, -step * square)

    small, half = (interactions.match_loss(loss, -square, r) for r in (SMALL_STEP, 0.5))
    ahead, back, long = split(small), split(-small), split(half)
    scale = small.square() * square
    grid = torch.from_numpy(R_GRID)[:, None] * loss / square
    bent = interactions.curvature_split(at.loss, params, down)
    measured = {
        "k_off": (ahead.inter + back.inter) / scale,
        "k_total": (ahead.total + back.total) / scale,
        "eps_up": first_ascent(at.loss, params, down, grid),
        "baseline": loss / square,
        "share": -long.inter / long.lin,
        "hvp_off": bent.off * square / loss,
        "hvp_total": bent.kappa * square / loss,
    }
    return {name: value.detach().tolist() for name, value in measured.items()}


@one_thread()
def survey(
    bench: Bench, places: Iterable[Architecture], seeds: Sequence[int], rates: Sequence[float]
) -> tuple[pd.DataFrame, Runs]:
    """Targets and predictors of every architecture, and its sweep."""
    frames, runs = [], Runs()
    for place in places:
        runs[place], largest = swept(bench, place, seeds, rates)
        columns = largest | predictors(problem(bench, place, seeds))
        where = dict(zip((*CELL, "arm"), place, strict=True))
        frames.append(pd.DataFrame({**where, "seed": list(seeds), **columns}))
    return pd.concat(frames, ignore_index=True), runs


@one_thread()
def ladder(
    bench: Bench, depth: int, seeds: Sequence[int], rates: Sequence[float], reset_norms: bool = True
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The six arms, ReLU, and the scale-free ones again with their weight norms reset.

    A frame with one row an arm and seed, targets and `share` (int at a predicted halving); and
    arm -> final over initial weight norm (R,), median over hidden units and seeds.
    """
    again = SCALE_FREE if reset_norms else ()
    frames, growth, share = [], {}, {}
    for name, reset in [(n, False) for n in LADDER] + [(n, True) for n in again]:
        place, label = ("relu", depth, name), name + RESET * reset
        run, largest = swept(bench, place, seeds, rates, reset_norms=reset)
        if not reset:
            share[name] = predictors(problem(bench, place, seeds))["share"]
        growth[label] = np.median(run.growth, 1)
        columns = {"L": depth, "arm": label, "seed": list(seeds), **largest, "share": share[name]}
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True), growth


@one_thread()
def renewed(
    bench: Bench, frame: pd.DataFrame, seeds: Sequence[int], rates: Sequence[float]
) -> pd.DataFrame:
    """log2 of the largest rates of ReLU networks, a row a depth and seed.

    Columns: those arms of none, frozen and bn that the frame has, and renewed, trained here.
    """
    table, made = by_seed(frame, ["none", "frozen", "bn"]), {}
    for depth in table.index.unique("L"):
        _, largest = swept(bench, ("relu", int(depth), "renewed"), seeds, rates)
        made |= {(depth, seed): v for seed, v in zip(seeds, largest["max_trainable"], strict=True)}
    return table.assign(renewed=pd.Series(made))


@one_thread()
def tuning(bench: Bench, rates: Sequence[float], **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """One unit of the arm bn-no-affine with eight matrices in every step, seed 0, (T, R) each:

        rate / ||w||^2, its effective rate;   1/(2 ||w|| ||g||), the bound for the next step

    The unit of the first layer with the median gradient norm in the first step.
    """
    norms: tuple[list[Tensor], list[Tensor]] = ([], [])

    def watch(_: int, *values: Mapping[str, Tensor]) -> None:
        for kept, value in zip(norms, values, strict=True):
            kept.append(value["W1"].norm(dim=2).clone())

    swept(bench, ("relu", 8, "bn-no-affine"), [0], rates, watch=watch, **options)
    w, g = (torch.stack(v).double().numpy() for v in norms)
    unit = int(np.argsort(g[0, 0])[g.shape[2] // 2])
    w, g = w[:, :, unit], g[:, :, unit]
    return np.asarray(rates) / w**2, 1 / (2 * w * g)


def read(name: str) -> str:
    """A register or a stored table, if it is the file that the page was written about.

    Raises ValueError for an edited file, and FileNotFoundError where there is none.
    """
    return content(Path(__file__).with_name(name), DIGESTS[name]).decode()


def load(dataset: str) -> dict[str, Any]:
    """The stored table of "digits" or "mnist1d"."""
    return json.loads(read("full.json" if dataset == "digits" else "mnist1d.json"))


def comparable(bench: Bench, rates: Sequence[float]) -> dict[str, Any] | None:
    """The stored table with the parameters of a run, its seeds aside; None where there is none."""
    how = FULL.get(bench.dataset)
    same = how and bench == Bench(bench.dataset, how.steps, how.threshold)
    return load(bench.dataset) if same and tuple(rates) == RATES else None


def frame_of(table: Mapping[str, Any]) -> pd.DataFrame:
    """One row an architecture and seed; no first ascent on the grid is infinite."""
    frames = []
    for row in table["rows"]:
        columns = {name: values for name, values in row.items() if name != "final"}
        frames.append(pd.DataFrame({**columns, "seed": range(len(row["max_trainable"]))}))
    frame = pd.concat(frames, ignore_index=True)
    rising = ["eps_up", "trained_eps_up"]
    return frame.assign(**{name: frame[name].astype(float).fillna(np.inf) for name in rising})


def ladders_of(table: Mapping[str, Any]) -> dict[tuple[int, int], pd.DataFrame]:
    """The stored mechanism tests by (L, steps), one row an arm and seed."""
    ladders = {}
    for row in table["ladders"]:
        frames = [pd.DataFrame({**arm, "L": row["L"]}) for arm in row["arms"]]
        ladders[row["L"], row["steps"]] = pd.concat(frames, ignore_index=True)
    return ladders


def with_halves(frame: pd.DataFrame, register: Mapping[str, Any]) -> pd.DataFrame:
    """The frame with the column `half`: exploration or held_out for registered cells, else ""."""
    cells = register["cells"]
    half = {(a, n): name for name in ("exploration", "held_out") for a, n in cells[name]}
    places = zip(frame.activation, frame.L, strict=True)
    return frame.assign(half=[half.get((a, int(n)), "") for a, n in places])


def agreement(run: pd.DataFrame, kept: pd.DataFrame) -> pd.Series:
    """Grid steps between a run and the stored table, where both have an architecture and seed."""
    key = [*CELL, "arm", "seed"]
    first, second = (frame.set_index(key).max_trainable for frame in (run, kept))
    both = first.to_frame("run").join(second, how="inner")
    return pd.Series(both["run"] - both["max_trainable"]).abs()


def told(frame: pd.DataFrame) -> bool:
    """Whether in some network some rates reach the threshold, and not all of them."""
    return bool(((frame.passing > 0) & ~frame.censored.astype(bool)).any())


def bn_gains(frame: pd.DataFrame, activation: str = "relu") -> pd.DataFrame:
    """log2 of BN's largest rate over that of the plain network, paired by seed, a row a depth."""
    return gaps(by_seed(frame, ["bn", "none"], activation), "bn", "none")


def by_seed(frame: pd.DataFrame, arms: Sequence[str], activation: str = "relu") -> pd.DataFrame:
    """log2 of the largest rates: a row a depth L and seed, a column an arm."""
    part = statistics.rows_with(frame, activation=activation, arm=list(arms))
    return part.pivot_table(index=["L", "seed"], columns="arm", values="max_trainable")


def gaps(largest: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Mean of one column minus another over seeds, with its interval, a row a depth L."""
    rows = {
        depth: statistics.paired_difference(part[first], part[second])._asdict()
        for depth, part in largest.groupby(level="L")
    }
    return pd.DataFrame(rows).T.rename_axis("L")


def by_depth(frame: pd.DataFrame, names: Sequence[str]) -> tuple[list[int], dict[str, np.ndarray]]:
    """Mean log2 of the largest rate over seeds with its interval: depths, arm -> (3, depths)."""
    part = statistics.rows_with(frame, activation="relu", arm=list(names))
    depths = sorted(set(part.L.tolist()))
    table = part.groupby(["arm", "L"]).max_trainable.agg(list)
    lines = {}
    for arm in names:
        if all((arm, depth) in table.index for depth in depths):
            lines[arm] = np.array([statistics.mean_interval(table[arm, n]) for n in depths]).T
    return depths, lines


def medians(frame: pd.DataFrame) -> pd.DataFrame:
    """Medians over seeds, one row an architecture, with the label of its `cell`."""
    numbers = frame.drop(columns=["seed", "half"], errors="ignore")
    table = numbers.groupby([*CELL, "arm"], sort=False).median().reset_index()
    return table.assign(cell=table.activation + " " + table.L.astype(str))


def rank_correlations(columns: ArrayLike) -> np.ndarray:
    """Spearman's correlation of every pair of columns, (n, k) -> (k, k).

    Pearson's correlation of the ranks; ties get their average rank. Infinities have a rank.
    NaN where a column has a single value: it orders nothing.
    Raises ValueError for NaN, which has no rank.
    """
    columns = np.asarray(columns, dtype=float)
    if columns.ndim != 2 or np.isnan(columns).any():
        raise ValueError(f"expected columns (n, k) without NaN, got shape {columns.shape}")
    ranks = stats.rankdata(columns, axis=0) - (len(columns) + 1) / 2
    cross = ranks.T @ ranks
    size = np.sqrt(np.diag(cross))
    with np.errstate(invalid="ignore"):
        return np.asarray(cross / np.outer(size, size))


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """`rank_correlations` of two columns."""
    return float(rank_correlations(np.column_stack([x, y]))[0, 1])


def partial_spearman(x: ArrayLike, y: ArrayLike, z: ArrayLike) -> float:
    """Spearman's correlation of x and y given z, from the three rank correlations.

    Consequence: 0 where x and y are tied to each other through z alone, in the limit of many.
    """
    r = rank_correlations(np.column_stack([x, y, z]))
    return float(statistics.partial_from(r[0, 1], r[0, 2], r[1, 2]))


def within_group(x: ArrayLike, y: ArrayLike, groups: ArrayLike) -> np.ndarray:
    """Spearman's correlation inside each group, (G,) in the order of np.unique.

    NaN where a group orders nothing.
    Consequence: what a common cause of all members of a group does to x and y is gone.
    """
    x, y, groups = np.asarray(x), np.asarray(y), np.asarray(groups)
    return np.array([spearman(x[groups == g], y[groups == g]) for g in np.unique(groups)])


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Rank correlation of every registered predictor with the rate, whole cells resampled.

    Rows: (predictor, kind); kind: pooled, within (mean over cells of the correlation inside a
    cell), partial (given the baseline), and the pooled ones of k_off minus k_total (`BEYOND`) and
    of k_total minus the share (`APART`).  Columns: estimate, low, high; positive is as registered.
    table: of `medians`.
    """
    signed = [sign * table[name].to_numpy(dtype=float) for name, sign in DIRECTIONS.items()]
    rows = np.column_stack([*signed, table["max_trainable"].to_numpy(dtype=float)])
    clusters = table.cell.to_numpy()
    kinds = [(name, kind) for kind in ("pooled", "partial") for name in DIRECTIONS]
    index = pd.MultiIndex.from_tuples([*kinds, BEYOND, APART])
    rho = pd.DataFrame(_interval(rows, clusters, _pooled_and_partial)._asdict(), index=index)
    for name, x in zip(DIRECTIONS, rows.T, strict=False):
        inside = within_group(x, rows[:, -1], clusters)
        inside = inside[np.isfinite(inside)]
        if len(inside) > 1:
            rho.loc[(name, "within"), :] = list(_interval(inside, range(len(inside)), np.mean))
        else:
            rho.loc[(name, "within"), :] = np.nan
    return rho.drop(index=("baseline", "partial"))


def _pooled_and_partial(rows: np.ndarray) -> np.ndarray:
    r, names = rank_correlations(rows), list(DIRECTIONS)
    z, pooled = names.index("baseline"), r[:-1, -1]
    partial = statistics.partial_from(pooled, r[:-1, z], pooled[z])
    k_off, k_total, share = (pooled[names.index(name)] for name in ("k_off", "k_total", "share"))
    return np.concatenate([pooled, partial, [k_off - k_total, k_total - share]])


def _interval(rows: Any, clusters: Any, statistic: Callable[..., Any]) -> statistics.Interval:
    return statistics.cluster_bootstrap(rows, clusters, statistic, rng=np.random.default_rng(0))


def variants(half: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Other analyses of one half, none of them registered: name -> `correlations`."""
    table = medians(half)
    tried = {
        "best rate": table.assign(max_trainable=table.best),
        "max_stable": table.assign(max_trainable=table.max_stable),
        "without bn-no-affine": pd.DataFrame(table[table.arm != "bn-no-affine"]),
        "Hessian products": table.assign(k_off=table.hvp_off, k_total=table.hvp_total),
    }
    if "trained_k_off" in table:
        later = {name: table[f"trained_{name}"] for name in DIRECTIONS}
        tried["after 20 steps"] = table.assign(**later)
    return {name: correlations(other) for name, other in tried.items()}


def in_rows(rho: pd.DataFrame) -> pd.DataFrame:
    """The correlations by kind, labeled."""
    keys = [(n, kind) for kind in KINDS for n in DIRECTIONS if (n, kind) in rho.index]
    labels = [f"{name}, {kind}" for name, kind in keys]
    return rho.loc[[*keys, BEYOND]].set_axis([*labels, "k_off minus k_total"])


def wide(frame: pd.DataFrame, what: str = "max_trainable") -> pd.DataFrame:
    """One row a seed, one column an arm."""
    return frame.pivot_table(index="seed", columns="arm", values=what, sort=False)


def gains(frame: pd.DataFrame) -> dict[str, float]:
    """Mean log2 of every arm's largest rate over that of the plain network."""
    rate = wide(frame)
    return rate.sub(rate["none"], axis=0).mean().to_dict()


class Order(NamedTuple):
    """tau of -int and the rate over the ladder; the arm with the least int, its gain and BN's."""

    tau: statistics.Interval
    least: str
    gain: float
    bn_gain: float


def order_of_arms(frame: pd.DataFrame) -> Order:
    """Kendall's tau(-int, log2 rate) over the six arms, medians over resampled seeds; gains."""
    rate, share = (wide(frame, what)[list(LADDER)] for what in ("max_trainable", "share"))

    def tau(seeds: np.ndarray) -> float:
        return _tau(*(np.median(v[seeds], 0) for v in values))

    values = share.to_numpy(), rate.to_numpy()
    every, gain, least = range(len(rate)), gains(frame), str(share.median().idxmin())
    return Order(_interval(every, every, tau), least, gain[least], gain["bn"])


def _tau(share: np.ndarray, rate: np.ndarray) -> float:
    """tau-b of -int and the rate; 0 where a single value orders nothing."""
    a, b = (np.sign(v[:, None] - v) for v in (-share, rate))
    untied = np.count_nonzero(a) / 2, np.count_nonzero(b) / 2
    if not all(untied):
        return 0.0
    return float((a * b).sum() / 2 / np.sqrt(untied[0]) / np.sqrt(untied[1]))


def _p_over_arms(share: np.ndarray, rate: np.ndarray) -> float:
    """p of tau-b, 1 where a single value orders nothing."""
    p = float(stats.kendalltau(-share, rate).pvalue)  # type: ignore[attr-defined]
    return 1.0 if np.isnan(p) else p


def explained(frame: pd.DataFrame, arm: str = "bn") -> statistics.Interval:
    """Share of an arm's gain that resetting the weight norms takes away, seeds resampled.

    1 - mean log2(reset / none) / mean log2(arm / none), NaN where the arm gains nothing.
    """
    rate = wide(frame)
    pairs = np.stack([rate[arm + RESET] - rate["none"], rate[arm] - rate["none"]], 1)

    def lost(pairs: np.ndarray) -> float:
        reset, whole = pairs.mean(0)
        return float(1 - reset / whole) if whole else 0.0

    told = pairs[:, 1].mean() > 0
    return _interval(pairs, range(len(pairs)), lost) if told else statistics.Interval(*[np.nan] * 3)


def orders(frame: pd.DataFrame) -> pd.DataFrame:
    """Kendall's tau of -int and the largest rate over several sets of arms, medians over seeds.

    p: of the hypothesis that the arms' order is random; resampling seeds cannot know how
    different another choice of arms would be.
    """
    rate: Any = wide(frame).median()
    share: Any = wide(frame, "share").median()
    reset = [name + RESET * (name in SCALE_FREE) for name in LADDER]
    sets = {"the six arms, as registered": list(LADDER), "without bn-no-affine": list(LADDER[:-1])}
    if set(reset) <= set(rate.index):
        sets["scale-free arms with norms reset"] = reset
    rows = {}
    for name, compared in sets.items():
        pair = share[compared].to_numpy(), rate[compared].to_numpy()
        rows[name] = len(compared), _tau(*pair), _p_over_arms(*pair)
    return pd.DataFrame(rows, index=["arms", "tau", "p over arms"]).T


def beyond_one_step(frame: pd.DataFrame) -> pd.DataFrame:
    """log2(max_trainable / eps_up), ReLU, median over seeds: a row a depth, a column an arm.

    Minus infinite where most seeds have no ascent on the grid of steps.
    """
    part = statistics.rows_with(frame, activation="relu")
    gap = part.assign(gap=part.max_trainable - np.log2(part.eps_up))
    return gap.groupby(["L", "arm"], sort=False).gap.median().unstack().sort_index()


def overview(frame: pd.DataFrame, by: Sequence[str], rates: Sequence[float]) -> pd.DataFrame:
    """Every target for the eye: median over seeds and range, in log2; >= at the grid's edge."""
    edge, groups = np.log2(rates[-1]), frame.groupby(list(by), sort=False)

    def spread(values: pd.Series, edge: float) -> str:
        low, middle, high = values.min(), values.median(), values.max()
        return f"{'≥ ' * bool(middle >= edge)}{middle:g} ({low:g} to {high:g})"

    names = ("max_trainable", "max_stable", "best")
    columns = {name: groups[name].agg(spread, edge=edge) for name in names}
    columns["passing"] = groups["passing"].agg(spread, edge=np.inf)
    for name in [n for n in ("share", "eps_up") if n in frame]:
        columns[name] = groups[name].median().map("{:.2f}".format)
    columns["censored"] = groups["censored"].agg(lambda v: int(v.sum()))
    columns["never"] = groups["passing"].agg(lambda v: int((v == 0).sum()))
    return pd.DataFrame(columns)


def equal_rate(runs: Runs, place: int) -> pd.DataFrame:
    """Median final loss of every arm at rate number `place`, one row a cell; bn - none, paired."""
    lines: dict[tuple[str, int], dict[str, str]] = {}
    for (activation, n, arm), run in runs.items():
        line = lines.setdefault((activation, n), {})
        line[arm] = f"{np.median(run.final[place]):.2f}"
    for (activation, n), line in lines.items():
        bn, none = (runs[activation, n, arm].final[place] for arm in ("bn", "none"))
        gap = statistics.paired_difference(bn, none)
        line["bn - none"] = "{:+.2f} ({:+.2f} to {:+.2f})".format(*gap)
    return pd.DataFrame(lines).T.rename_axis(CELL)
