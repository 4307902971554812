"""What the forward chapter measures: the layer against PyTorch, shapes of channels, laws, lags."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import signal, stats
from torch.nn.functional import batch_norm

from bnlib import data, laws, reference, rows, running, statistics, training
from bnlib.networks.efficientnet import EfficientNetLite, layer_role, shipped_state_dict
from bnlib.networks.seed_batched import SeedBatchedMLP
from bnlib.networks.spec import Spec
from bnlib.statistics import Interval, Shape, mean_interval
from bnlib.verdicts import simultaneous

if TYPE_CHECKING:
    from bnlib.chapters.forward import Settings

LAYOUTS = (
    ((12, 3), 1),
    ((4, 3, 5), 1),
    ((4, 3, 5, 2), 1),
    ((3, 3, 2, 2, 3), 1),
    ((4, 5, 2, 3), -1),
)
"""(shape, channel axis) of one small input per layout: 1-d to 3-d, and channels last."""

FAMILIES: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "ReLU(normal)": lambda rng, size: np.maximum(rng.normal(size=size), 0),
    "two humps": lambda rng, size: rng.choice([-2, 2], size) + 0.5 * rng.normal(size=size),
    "Laplace": lambda rng, size: rng.laplace(size=size),
    "lognormal": lambda rng, size: rng.lognormal(size=size),
    "uniform": lambda rng, size: rng.uniform(size=size),
}
Inputs = dict[tuple[str, str], torch.Tensor]  # (group, layer) -> (n, c)


def to_rows(x: Any, channel_axis: int = 1) -> tuple[Any, Callable[[Any], Any]]:
    """Rows (m, c) of an input of any layout, and the function that gives the layout back.

        (N, C) -> (N, C)      (N, C, H, W) -> (N*H*W, C)      m = product of all axes but one

    x: NumPy array or torch tensor; channels-last layouts have channel_axis = -1.
    The second result takes rows of the same shape and returns them in the layout of x.
    Raises ValueError as `reduced_axes` does, and when the rows given back have another shape.
    Consequence: the layout only changes m. Normalizing rows is normalizing the layout.
    """
    order = (*rows.reduced_axes(x.ndim, channel_axis), channel_axis % x.ndim)
    moved = _transpose(x, order)
    want = (math.prod(moved.shape[:-1]), moved.shape[-1])
    back = tuple(order.index(axis) for axis in range(x.ndim))

    def restore(rows: Any) -> Any:
        if tuple(rows.shape) != want:
            raise ValueError(
                f"expected rows of shape {want}, as taken apart, got {tuple(rows.shape)}"
            )
        return _transpose(rows.reshape(moved.shape), back)

    return moved.reshape(want), restore


def _transpose(x: Any, order: tuple[int, ...]) -> Any:
    """The two libraries have different names for it."""
    return x.transpose(order) if isinstance(x, np.ndarray) else x.permute(order)


def standardized(x: np.ndarray, eps: float) -> reference.Tape:
    """Step 1 of [BN.1] alone: x_hat and what belongs to it."""
    return reference.forward(x, np.ones(x.shape[1]), np.zeros(x.shape[1]), eps=eps)[1]


def compare(
    shape: tuple[int, ...], channel_axis: int, *, eps: float, dtype: str, rng: np.random.Generator
) -> dict[str, float]:
    """Largest differences on one random input, relative to the largest value compared.

        output  both modes, [BN.1] and [BN.4], against torch.nn.functional.batch_norm
        buffer  running mean and variance after one update [BN.5] of weight 0.1, against torch's
        layout  [BN.1] on rows, put back, against means over the axes of the layout itself

    x: normal with channel means up to 8 standard deviations from zero.  gamma takes both signs.
    """
    c = shape[channel_axis]
    x = rng.normal(size=shape) + _per(rng.uniform(-8, 8, c), shape, channel_axis)
    gamma, beta, mean, var = (*rng.normal(size=(3, c)), rng.uniform(0.5, 2, c))
    x, gamma, beta, mean, var = (a.astype(dtype) for a in (x, gamma, beta, mean, var))
    flat, restore = to_rows(x, channel_axis)
    train = restore(reference.forward(flat, gamma, beta, eps=eps)[0])
    infer = restore(running.infer(flat, gamma, beta, mean, var, eps=eps))
    stored = running.update(
        running.Running(mean, var, 0), *reference.statistics(flat), len(flat), new_weight=0.1
    )
    t = torch.tensor(np.moveaxis(x, channel_axis, 1))
    w, b, r_mean, r_var = (torch.tensor(a) for a in (gamma, beta, mean, var))
    theirs = [  # evaluation first: training updates the two buffers in place
        np.moveaxis(batch_norm(t, r_mean, r_var, w, b, mode, 0.1, eps).numpy(), 1, channel_axis)
        for mode in (False, True)
    ]
    return {
        "output": max(map(_gap, (infer, train), theirs)),
        "buffer": max(map(_gap, (stored.mean, stored.var), (r_mean.numpy(), r_var.numpy()))),
        "layout": _gap(train, over_axes(x, gamma, beta, channel_axis, eps=eps)),
    }


def over_axes(
    x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, channel_axis: int, *, eps: float
) -> np.ndarray:
    """[BN.1] in the layout of the input, without rows, with NumPy's own variance; shape of x."""
    axes = rows.reduced_axes(x.ndim, channel_axis)
    mu, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    x_hat = (x - mu) / np.sqrt(var + eps)
    return _per(gamma, x.shape, channel_axis) * x_hat + _per(beta, x.shape, channel_axis)


def stored_variance(rng: np.random.Generator) -> tuple[list[float], float]:
    """Relative gaps of the variance that PyTorch stores, and of the one it used.

    One update of weight 1 on four rows: the stored one to the (biased, unbiased) variance; that
    of its output to 1, which the biased variance gives.
    """
    batch = torch.tensor(rng.normal(3.0, 2.0, (4, 5)))
    mean, var = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    normalized = batch_norm(batch, mean, var, training=True, momentum=1.0, eps=1e-12)
    gaps = [float((var / batch.var(0, correction=k) - 1).abs().max()) for k in (0, 1)]
    return gaps, float((normalized.var(0, correction=0) - 1).abs().max())


def two_moments(rng: np.random.Generator) -> tuple[np.ndarray, dict[int, np.ndarray], float]:
    """Batch variance / eps (17,), the standard deviation of y / |gamma| there by m, largest error.

    The error is that of the mean and of the standard deviation of y.
    """
    gamma, beta, eps, ratio = np.full(17, -1.7), np.full(17, 0.6), 1e-3, np.logspace(-2, 6, 17)
    spread, error = {}, 0.0
    for m in (2, 8, 256):
        x = rng.normal(size=(m, 17))
        x = 3.0 + (x - x.mean(0)) / x.std(0) * np.sqrt(ratio * eps)
        y, _ = reference.forward(x, gamma, beta, eps=eps)
        law = np.sqrt(x.var(0) / (x.var(0) + eps))
        spread[m] = y.std(0) / np.abs(gamma)
        error = max(error, np.abs(y.mean(0) - beta).max(), 1.7 * np.abs(spread[m] - law).max())
    return ratio, spread, float(error)


def beyond_the_bound(rng: np.random.Generator) -> tuple[float, float]:
    """Most by which |x_hat| exceeds sqrt((m-1) rho), and by which one-hot rows fall short of it."""
    excess, short = -np.inf, 0.0
    for m, eps in product((2, 3, 8, 64, 1024), (0.0, 1e-3, 0.3)):
        normal = rng.normal(size=(m, 500))
        for x in (normal, np.exp(5 * normal), 7.0 * np.eye(m)[:, :1]):
            bound = laws.x_hat_bound(m) * np.sqrt(x.var(0) / (x.var(0) + eps))
            beyond = np.abs(standardized(x, eps).x_hat).max(0) - bound
            excess = max(excess, float(beyond.max()))
        short = max(short, float(-beyond.min()))  # the last x was one-hot
    return excess, short


def pipeline(rng: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    """One channel with two humps at four stages, (4096,) each, with the color of its quantity."""
    x = 5 + rng.choice([2.5, -1.2, -1.2], (4096, 1)) + 0.8 * rng.normal(size=(4096, 1))
    y, tape = reference.forward(x, np.array([0.4]), np.array([1.0]), eps=1e-5)
    stages = ("input", x), ("input", x - x.mean()), ("normalized", tape.x_hat), ("output", y)
    return [(color, values[:, 0]) for color, values in stages]


def family_shapes(given: Settings) -> dict[str, tuple[Shape, Shape]]:
    """Shapes of each of `FAMILIES` before and after step 1, entries (repeats,)."""
    shapes = {}
    for k, (name, family) in enumerate(FAMILIES.items()):
        rng = np.random.default_rng([given.seed, 6, k])
        x = family(rng, (5 * given.draws, given.repeats))
        shapes[name] = statistics.shape(x), statistics.shape(standardized(x, 1e-5).x_hat)
    return shapes


def digits_networks(given: Settings) -> tuple[Inputs, Interval]:
    """Inputs of the normalizations of small networks on digits, and their accuracy in percent.

    Groups "digits 1" and "digits 2" after training, then both with " new" before it; a layer is
    "seed k", (1347, 128) on its whole training set.
    """
    splits = [data.digits_split(k) for k in range(given.seeds)]
    x_train, y_train, x_test, y_test = (np.stack(parts) for parts in zip(*splits, strict=True))
    net = SeedBatchedMLP(Spec((64, 128, 128, 10)), seeds=range(given.seeds))
    every = torch.tensor(x_train)
    untrained = net.trace(net.params, every).pre
    recipe = {"steps": 500, "batch": 64, "lr": 0.05, "momentum": 0.9, "schedule": "cosine"}
    training.train(net, x_train, y_train, **recipe)
    trained = net.trace(net.params, every).pre
    score = training.accuracy(net, x_test, y_test, stats=net.recalibrate(every))
    inputs = {
        (f"digits {site}{tag}", f"seed {k}"): pre[site][k]
        for tag, pre in (("", trained), (" new", untrained))
        for site, k in product((1, 2), range(given.seeds))
    }
    return inputs, mean_interval(100 * score)


class Photographs(NamedTuple):
    """EfficientNet-Lite0 on crops of two photographs; empty where it is left out."""

    inputs: Inputs
    weights: Mapping[str, torch.Tensor]
    values: int  # of each channel
    seen: str  # its best classes on the centers of both


def photographs(given: Settings) -> Photographs:
    """Inputs of all normalizations of EfficientNet-Lite0 at random positions of random crops."""
    positions = min(49, 3000 // given.n_crops)
    if given.skip_effnet:
        seen = "EfficientNet-Lite0 is left out: the digits channels stand in for its channels."
        return Photographs({}, {}, given.n_crops * positions, seen)
    net = EfficientNetLite(shipped_state_dict())
    with torch.no_grad():
        palace, flower = net(data.photo_centers()).topk(5).indices.tolist()
    crops = data.photo_crops(given.n_crops, seed=given.seed)
    inputs = collect(net, crops, positions=positions, seed=given.seed)
    seen = f"palace: {palace}  flower: {flower}"
    return Photographs(inputs, net.weights, given.n_crops * positions, seen)


@torch.no_grad()
def collect(
    net: Callable[..., Any], images: torch.Tensor, *, positions: int, seed: int, batch: int = 16
) -> Inputs:
    """Values at the input of every batch normalization, {(role, name): (n, c)}.

    net: called as net(images, hook), as `networks.efficientnet.EfficientNetLite` is.
    positions: how many random places of each image are kept, without repetition and the same for
    all channels of a layer, so n = images * positions.
    Raises ValueError where a layer has fewer places than that.
    """
    places, kept = torch.Generator().manual_seed(seed), {}

    def keep(name: str, tensor: torch.Tensor, when: str) -> None:
        if when != "pre":
            return
        flat = tensor.flatten(2)
        if flat.shape[2] < positions:
            raise ValueError(f"{name}: expected {positions} positions, got only {flat.shape[2]}")
        at = torch.rand(len(flat), flat.shape[2], generator=places).argsort(1)[:, :positions]
        values = flat.gather(2, at[:, None].expand(-1, flat.shape[1], -1))
        kept.setdefault((layer_role(name), name), []).append(values.transpose(1, 2).flatten(0, 1))

    for part in images.split(batch):
        net(part, keep)
    return {key: torch.cat(parts) for key, parts in kept.items()}


def floor(n: int, rng: np.random.Generator) -> tuple[float, float]:
    """Median and 95 % quantile of the KS distance of 500 normal samples of n."""
    ks = statistics.ks_reference(n, 500, rng)
    return float(np.median(ks)), float(np.quantile(ks, 0.95))


def channel_shapes(
    inputs: Mapping[tuple[str, str], torch.Tensor], floors: Mapping[int, float], *, eps: float
) -> pd.DataFrame:
    """One line per channel: its shape after [BN.1] normalized it, and what that changed.

    floors: n -> the `ks` below which a sample of n counts as normal.  Columns: group, layer,
    channel; ks, skew, excess_kurtosis, cover1 of x_hat; change, the largest change of one of the
    four from x to x_hat; rho; open, the share of x_hat > 0; normal and normal_before, whether ks
    is at most the floor after and before.
    Channels with a standard deviation below 1e-8 have no shape and are left out.
    """
    parts = []
    for (group, layer), values in inputs.items():
        live = np.flatnonzero((values.std(0, correction=0) >= 1e-8).numpy())
        # One channel after the other in memory: NumPy then sums pairwise, which keeps 13 digits of
        # a kurtosis of thousands, and sorts faster.
        x = np.asfortranarray(values[:, live].double().numpy())
        tape = standardized(x, eps)
        x_hat = np.asfortranarray(tape.x_hat)
        before, after = statistics.shape(x), statistics.shape(x_hat)
        columns = {"group": group, "layer": layer, "channel": live} | after._asdict()
        columns["change"] = np.abs(np.subtract(after, before)).max(axis=0)
        columns["rho"], columns["open"] = tape.rho, (x_hat > 0).mean(axis=0)
        for name, ks in (("normal", after.ks), ("normal_before", before.ks)):
            columns[name] = ks <= floors[len(x)]
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def summarize(shapes: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One line per group of `channel_shapes`: how far its channels are from normal.

    KS: median over channels; low, high: its 95 % interval when whole layers are resampled, NaN for
    a group of one layer; 10 %, 90 %: quantiles over channels; |skewness|, kurtosis (excess) and
    within 1 sd: medians; under floor: the share that counts as normal.
    """
    groups = shapes.groupby("group", sort=False)
    lines = {}
    for name, part in groups:
        ends = np.nan, np.nan
        clusters = part["layer"].to_numpy(str)
        if len(set(clusters)) > 1:
            ends = statistics.cluster_bootstrap(part["ks"], clusters, np.median, rng=rng)[1:]
        tenths = part["ks"].quantile([0.1, 0.9])
        lines[name] = (part["ks"].median(), *ends, *tenths, part["skew"].abs().median())
    table = pd.DataFrame(lines, ["KS", "low", "high", "10 %", "90 %", "|skewness|"]).T
    table["kurtosis"] = groups["excess_kurtosis"].median()
    table["within 1 sd"] = groups["cover1"].median()
    table["under floor"], table["channels"] = groups["normal"].mean(), groups.size()
    return table.assign(layers=groups["layer"].nunique())


def typical(group: str, inputs: Inputs, shapes: Any) -> tuple[float, np.ndarray, np.ndarray, Any]:
    """The channel of a group with the median KS distance: ks, x, x_hat and its bell (t, density).

    The bell is the normal with the two moments of x_hat.
    """
    part = shapes[shapes.group == group].sort_values("ks")
    pick, t = part.iloc[len(part) // 2], np.linspace(-4, 4, 201)
    x = inputs[group, pick.layer][:, [pick.channel]].double().numpy()
    bell = t, stats.norm.pdf(t, scale=np.sqrt(pick.rho))
    return pick.ks, x[:, 0], standardized(x, 1e-3).x_hat[:, 0], bell


def over_blocks(shapes: Any) -> dict[str, np.ndarray]:
    """Median KS distance by layer type over the 16 blocks; empty without EfficientNet-Lite0."""
    block = shapes.layer.str.extract(r"_blocks\.(\d+)", expand=False).astype(float)
    medians = shapes.groupby([shapes.group, block]).ks.median()
    types = ("expand", "depthwise", "project") if len(medians) else ()
    return {name: medians[name].reindex(range(16)).to_numpy() for name in types}


def before_relu6(crops: Photographs, channel: Any) -> np.ndarray:
    """What a depthwise channel reads, before its ReLU6, (n,); empty for any other channel."""
    before = channel.layer.replace("_bn1", "_bn0")
    if channel.group != "depthwise" or ("expand", before) not in crops.inputs:
        return np.empty(0)
    parts = ("weight", "bias", "running_mean", "running_var")
    fixed = [crops.weights[f"{before}.{part}"].numpy() for part in parts]
    y = running.infer(crops.inputs["expand", before].numpy(), *fixed, eps=1e-3)
    return y[:, channel.channel]


LAW_LEVEL = 0.999  # a law that is proved must not fail by chance: of 200 seeds, 0.2 would


def normal_rows(m: int, given: Settings) -> tuple[np.ndarray, dict[str, float]]:
    """One x_hat of each of many batches of m normal rows, (5 draws,), and how they follow the law.

    Kurtosis with its interval, and the distance to the law with its critical value, at a level
    that all of them keep together; the distance of the law itself to the standard normal; the
    correlation of x and x_hat; their mean square gap.
    """
    x = np.random.default_rng([given.seed, 9, m]).normal(size=(m, 5 * given.draws))
    x_hat = standardized(x, 0.0).x_hat  # a batch in every column
    sample, t = x_hat[0], np.linspace(-6, 6, 120001)
    ks = stats.kstest(sample, lambda t: laws.x_hat_cdf(t, m)).statistic
    ks = abs((sample > 0).mean() - 0.5) if m == 2 else ks  # kstest takes no atoms
    level = simultaneous(2 * len(given.batch_sizes), LAW_LEVEL)
    kurtosis = mean_interval((x_hat**4).mean(0) - 3, level)
    gap = mean_interval(((x - x_hat) ** 2).mean(0))
    return sample, {
        "KS to law": ks,
        "critical": float(stats.kstwo.ppf(level, len(sample))),
        **dict(zip(("kurtosis", "low", "high"), kurtosis, strict=True)),
        "-6/(m+1)": -6 / (m + 1),
        "law to normal": np.abs(laws.x_hat_cdf(t, m) - stats.norm.cdf(t)).max(),
        "corr": np.corrcoef(x.ravel(), x_hat.ravel())[0, 1],
        "E s_m": laws.expected_batch_std(m),
        **dict(zip(("gap", "gap low", "gap high"), gap, strict=True)),
    }


def density(m: int) -> tuple[Any, Any]:
    """The law of x_hat of m normal rows, as far as drawn: (t, density), two atoms at m = 2."""
    inner = np.linspace(-1, 1, 401) * min(laws.x_hat_bound(m), 3.5)
    return ((-1, 1), (0.5, 0.5)) if m == 2 else (inner, laws.x_hat_pdf(inner, m))


class Noise(NamedTuple):
    """Noise of a running mean in units of one batch mean's, simultaneous intervals, by weight."""

    ours: dict[float, Interval]
    torch: dict[str, Interval]  # of PyTorch, by what 0.9 weighs: the new value, or the old


def running_noise(draws: int, rng: np.random.Generator) -> Noise:
    """The last of 1000 updates of many chains, by ours and by PyTorch's, on the same batches."""
    weights, one_row = (0.9, 0.5, 0.1, 0.01), np.ones(draws)
    chains = dict.fromkeys(weights, running.fresh(draws))
    readings = {"new": torch.zeros(2, draws).double(), "old": torch.zeros(2, draws).double()}
    for step in range(1000):  # = 10 / smallest weight: the start is forgotten
        mean = rng.normal(size=draws)
        for a in weights:
            chains[a] = running.update(chains[a], mean, one_row, 32, new_weight=a)
        batch = torch.tensor(mean) + torch.tensor([[-1.0], [1.0]])  # two rows with these means
        for meaning, buffers in readings.items() if step >= 900 else ():
            a = laws.convert_momentum(0.9, meaning, "new")
            batch_norm(batch, *buffers, training=True, momentum=a)

    def spread(means: np.ndarray, statements: int) -> Interval:
        return Interval(*np.sqrt(mean_interval(means**2, simultaneous(statements))))

    return Noise(
        {a: spread(chain.mean, 4) for a, chain in chains.items()},
        {meaning: spread(buffers[0].numpy(), 2) for meaning, buffers in readings.items()},
    )


class Drift(NamedTuple):
    """Running means of one weight: (paths, center, half, truth) over 400 steps."""

    constant: tuple[np.ndarray, ...]
    drifting: tuple[np.ndarray, ...]
    lag: Interval  # behind a drifting mean at the last step, over 500 chains


def drift(a: float, seed: int) -> Drift:
    """Chains from 0 after a constant mean of 4, and after one that moves by 0.03 a step."""
    noise, slope = np.random.default_rng([seed, 11]).normal(size=(400, 500)), 0.03
    steps = np.arange(1, 401)
    left = (1 - a) ** steps  # the share of the start that is left
    half = 2 * laws.ema_noise(a) * np.sqrt(1 - left**2)
    lag = slope * (1 - a) / a * (1 - left)

    def follow(truth: np.ndarray) -> Any:
        return signal.lfilter([a], [1, a - 1], truth[:, None] + noise, axis=0)  # r from r_0 = 0

    constant, moving = np.full(400, 4.0), slope * steps
    still, paths = follow(constant), follow(moving)
    return Drift(
        (still[:, :4], constant - 4 * left, half, constant),
        (paths[:, :4], moving - lag, half, moving),
        mean_interval(moving[-1] - paths[-1]),
    )


def variances_of_batches(rng: np.random.Generator) -> tuple[float, float]:
    """PyTorch's running variance with momentum None, and that of all rows, of 200 batches."""
    layer = torch.nn.BatchNorm1d(1, momentum=None).double()
    pooled = running.Pooled(0, np.zeros(1), np.zeros(1))
    for center in rng.normal(size=200):
        batch = center + rng.normal(size=(32, 1))
        layer(torch.tensor(batch))
        pooled = running.merge(pooled, running.pooled(batch))
    assert layer.running_var is not None
    return layer.running_var.item(), pooled.m2.item() / pooled.count


def _per(v: np.ndarray, shape: tuple[int, ...], channel_axis: int) -> np.ndarray:
    return rows.per_channel(v, len(shape), channel_axis)


def _gap(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
