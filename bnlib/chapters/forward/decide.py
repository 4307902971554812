"""From what the forward chapter measured to its verdicts, by the rules of `book/claims.toml`."""

from __future__ import annotations

from typing import Any

from bnlib import laws
from bnlib.chapters.forward.measure import Noise
from bnlib.results import Claim
from bnlib.verdicts import count, inside, verdict


def definition(double: float, single: float, inputs: int) -> Claim:
    """Largest relative difference to PyTorch in either precision."""
    return Claim(
        "forward-definition",
        verdict(double <= 1e-12 and single <= 1e-5),
        f"Largest relative difference to PyTorch, running buffers included, over {inputs} inputs: "
        f"{double:.1e} in float64, {single:.1e} in float32.",
    )


def axes(gap: float) -> Claim:
    """gap: rows and back against means over axes, in float64."""
    evidence = f"Rows and back, against means over the axes of the layout: {gap:.1e}."
    return Claim("forward-axes", verdict(gap <= 1e-12), evidence)


def stored_variance(biased: float, unbiased: float, used: float) -> Claim:
    """Relative gaps of the stored variance to both, and of the output's variance to 1."""
    return Claim(
        "forward-var-convention",
        verdict(unbiased <= 1e-12 < biased and used <= 1e-9),
        f"Four rows: PyTorch's stored variance differs by {unbiased:.1e} from the unbiased "
        f"variance and by {biased:.3f} from the biased one; it normalized with the biased one, to "
        f"{used:.1e}.",
    )


def two_moments(error: float) -> Claim:
    """error: largest, of mean and standard deviation after step 2."""
    return Claim(
        "forward-two-moments",
        verdict(error <= 1e-10),
        f"Mean against beta, standard deviation against |gamma| sqrt(rho), gamma negative, batch "
        f"variance / eps from 0.01 to 1e6, 2, 8 and 256 rows: largest error {error:.1e}.",
    )


def bound(excess: float, short: float) -> Claim:
    """excess: over the bound, of any row.  short: of the bound, of one-hot rows."""
    return Claim(
        "forward-bound",
        verdict(excess <= 1e-9 and short <= 1e-9),
        f"Normal, exp(5 normal) and one-hot rows, m from 2 to 1024, eps from 0 to 0.3: the bound "
        f"is never exceeded by more than {max(excess, 0.0):.1e}; one-hot rows attain it to "
        f"{short:.1e}.",
    )


def standard_normal(under: float, before: float, change: float, channels: int) -> Claim:
    """under, before: share of channels near a normal after and before step 1.

    change: largest change of a shape statistic.  It holds only where step 1 makes the normals.
    """
    return Claim(
        "forward-standard-normal",
        verdict(under >= 0.9 > before, under >= 0.9 or change > 1e-10),
        f"Step 1 changes no shape statistic by more than {change:.1e}. Of {channels} channels of "
        f"trained networks {under:.1%} are as near to a normal as a normal sample of their size.",
    )


def beta_marginal(panel: Any, draws: int) -> Claim:
    """panel: `measure.normal_rows` by m; both tests at every m, together at 99.9 %."""
    worst, critical, law = panel["KS to law"].max(), panel.critical.min(), panel["-6/(m+1)"]
    right = law.between(panel.low - 1e-9, panel.high + 1e-9).all()
    return Claim(
        "forward-beta-marginal",
        verdict(right and worst < critical),
        f"{draws} batches each of {', '.join(map(str, panel.index))} normal rows: KS distance to "
        f"the law at most {worst:.5f} (critical value {critical:.5f}); kurtosis -6/(m+1) lies "
        f"{'inside' if right else 'outside'} its intervals; both tests at every m together at "
        "99.9 %.",
    )


def ema_noise(noise: Noise, draws: int) -> Claim:
    """The law against our updates, by weight."""
    law = {a: laws.ema_noise(a) for a in noise.ours}
    ranges = (f"{law[a]:.4f} in [{v.low:.4f}, {v.high:.4f}]" for a, v in noise.ours.items())
    return Claim(
        "forward-ema-noise",
        count((inside(law[a], v) for a, v in noise.ours.items()), partly=len(law) - 1),
        f"sqrt(a/(2-a)) against the simultaneous 95 % intervals of {draws} chains, a = 0.9, 0.5, "
        f"0.1, 0.01: {'; '.join(ranges)}.",
    )


def momentum_convention(noise: Noise) -> Claim:
    """The law against PyTorch's own updates, 0.9 read both ways."""
    law = {k: laws.ema_noise(laws.convert_momentum(0.9, k, "new")) for k in noise.torch}
    new, old = (noise.torch[k].estimate for k in ("new", "old"))
    return Claim(
        "forward-momentum-convention",
        verdict(all(inside(law[k], v) for k, v in noise.torch.items())),
        f"PyTorch on the same batches, 0.9 read as weight of the new value: noise {new:.3f} of a "
        f"batch mean's (theory {law['new']:.3f}); as weight of the old: {old:.3f} (theory "
        f"{law['old']:.3f}).",
    )
