"""Closed forms and floors: what theory says about the numbers that the chapters measure."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import betainc, betaln, entr, gammaln, ndtr

from bnlib.parameters import one_of
from bnlib.statistics import share_explained


def ema_noise(a: float) -> float:
    """Standard deviation of a running statistic, in units of that of one batch value.

        sd(r) / sd(batch value) = sqrt(a / (2 - a))

    a: weight of the new value, in [0, 1]; batch values independent, the start forgotten.
    Consequences: 1 at a = 1 (the last batch), about sqrt(a / 2) for small a.
    """
    if not 0 <= a <= 1:
        raise ValueError(f"a: expected a weight in [0, 1], got {a}")
    return float(np.sqrt(a / (2 - a)))


def convert_momentum(value: float, source: str, target: str) -> float:
    """A "momentum" as the other convention writes it.

    "new": the weight of the new batch (PyTorch).  "old": the weight of what was stored (Keras,
    flax, ONNX).  One is 1 minus the other.
    Raises ValueError for another convention and for a value outside [0, 1].
    """
    for convention in (source, target):
        one_of("convention", convention, ("new", "old"))
    if not 0 <= value <= 1:
        raise ValueError(f"momentum: expected a share in [0, 1], got {value}")
    return value if source == target else 1 - value


def expected_batch_std(m: int) -> float:
    """E[s_m] / sigma for m Gaussian rows, s_m the root of the biased variance.

        sqrt(2 / m) Gamma(m / 2) / Gamma((m - 1) / 2)

    Consequences: below 1 for every m; also the correlation of x with x_hat, pooled over batches.
    """
    _need_rows(m, 2)
    return float(np.sqrt(2 / m) * np.exp(gammaln(m / 2) - gammaln((m - 1) / 2)))


def penalty_gamma(m: int, kurtosis: float = 3.0) -> float:
    """Best gamma, in units of the target's, if the noise of m rows were a penalty zeta gamma^2.

        1 / (1 + 2 zeta),  zeta = (kurtosis - 1) / (8 m) + 1 / (2 m)

    From the second-order term of the squared loss alone.  Consequence: its shrink is about twice
    that of E[s_m], which is what rows that enter their own statistics give.
    """
    _need_rows(m, 2)
    return 1 / (1 + (kurtosis + 3) / (4 * m))


def other_rows_gamma(m: int) -> float:
    """Best gamma, in units of the target's, for a Gaussian row normalized by m other rows.

        E[1/s] / (E[1/s^2] (1 + 1/m)),  s the root of the biased variance

    Consequence: about 1 - 11 / (4 m).  Raises ValueError for m < 4, where E[1/s^2] is infinite.
    """
    _need_rows(m, 4)
    inverse = np.sqrt(m / 2) * np.exp(gammaln((m - 2) / 2) - gammaln((m - 1) / 2))
    return float(inverse * (m - 3) / (m + 1))


def x_hat_bound(m: int, rho: float = 1.0) -> float:
    """Largest |x_hat| that m rows allow: sqrt((m - 1) rho), attained when all others are equal."""
    _need_rows(m, 2)
    return float(np.sqrt((m - 1) * rho))


def x_hat_pdf(t: ArrayLike, m: int) -> np.ndarray:
    """Density of one x_hat of m independent Gaussian rows at eps = 0.

        f(t) = (1 - t^2 / (m - 1))^((m - 4) / 2) / (sqrt(m - 1) B(1/2, (m - 2) / 2))

    for |t| < sqrt(m - 1), else 0.
    Raises ValueError for m = 2, whose law is two atoms at -1 and 1 and has no density.
    Consequences: m = 3 piles up at the ends, m = 4 is uniform; kurtosis is 3 (m - 1) / (m + 1).
    """
    _need_rows(m, 3)
    t = np.asarray(t, dtype=np.float64)
    room = 1 - t**2 / (m - 1)
    inside = room > 0
    log_height = (m - 4) / 2 * np.log(np.where(inside, room, 1.0)) - betaln(0.5, (m - 2) / 2)
    return np.where(inside, np.exp(log_height) / np.sqrt(m - 1), 0.0)


def x_hat_cdf(t: ArrayLike, m: int) -> np.ndarray:
    """Probability that one x_hat of m independent Gaussian rows is at most t, at eps = 0.

        F(t) = (1 + sign(t) I(t^2 / (m - 1); 1/2, (m - 2) / 2)) / 2

    I is the regularized incomplete beta function. m = 2: steps of 1/2 at -1 and at 1.
    """
    _need_rows(m, 2)
    t = np.asarray(t, dtype=np.float64)
    if m == 2:
        return ((t >= -1).astype(np.float64) + (t >= 1)) / 2
    return (1 + np.sign(t) * betainc(0.5, (m - 2) / 2, np.minimum(t**2 / (m - 1), 1))) / 2


def energy_kept(m: int, rho: float = 1.0) -> float:
    """Share of the squared length of a random dy that survives J, in units of gamma * rstd.

        ((m - 2) + (1 - rho)^2) / m

    dy isotropic.  Consequence: two rows keep nothing at rho = 1.
    """
    _need_rows(m, 2)
    return ((m - 2) + (1 - rho) ** 2) / m


def norm4(eta: float, decay: float, g2: Any, u0: Any, t: Any) -> Any:
    """The fourth power u of the norm of a row after t steps of SGD with weight decay.

        u(t) = u* + (u0 - u*) exp(-4 eta decay t),    u* = eta g2 / (2 decay)

    g2: squared norm of the gradient at the direction of unit length.  Without decay
    u = u0 + 2 eta^2 g2 t.  Source: vanlaarhoven2017.
    """
    if decay == 0:
        return u0 + 2 * eta**2 * g2 * t
    fixed = eta * g2 / (2 * decay)
    return fixed + (u0 - fixed) * np.exp(-4 * eta * decay * t)


def pair_gain(gap: Any, eps: float) -> Any:
    """The only eigenvalue of two rows that is not 0, from half their difference; gamma = 1.

        G = eps / (gap^2 + eps)^(3/2)

    Consequences: at most eps^(-1/2), at a tie; its integral over gap is 2 for every eps.
    """
    return eps * (np.square(gap) + eps) ** -1.5


def pair_gain_moment(power: int, eps: float) -> float:
    """E[G^power] over pairs of independent standard Gaussian rows, by quadrature.

    Half their difference is N(0, 1/2).  In the angle t, gap = sqrt(eps) tan t, the spike of G is
    a power of a cosine: nothing narrow is left to miss.
    Consequences for small eps: 2 p(0) = 2/sqrt(pi) for power 1; p(0) 3 pi / (8 sqrt(eps)) for 2.
    """

    def integrand(t: float) -> float:
        gap = np.sqrt(eps) * np.tan(t)
        density = np.exp(-(gap**2)) / np.sqrt(np.pi)
        return pair_gain(gap, eps) ** power * density * np.sqrt(eps) / np.cos(t) ** 2

    return 2 * quad(integrand, 0, np.pi / 2, limit=200, epsabs=0, epsrel=1e-10)[0]


def kink_floor(x: np.ndarray, y: np.ndarray, activation: str) -> float:
    """Least mean squared error on (x, y), both (n,), of one hidden layer without beta.

    "relu": span {1, relu(x_hat), relu(-x_hat)}, with or without gamma; "tanh": {1, tanh(x_hat)},
    without gamma. Raises ValueError for another activation, whose span is not derived here.
    """
    x_hat = (x - x.mean()) / x.std()
    if one_of("activation", activation, ("relu", "tanh")) == "relu":
        span = np.column_stack([np.maximum(x_hat, 0), np.maximum(-x_hat, 0)])
    else:
        span = np.tanh(x_hat)[:, None]
    return float((1 - share_explained(span, y)) * y.var())


def logit_floor(shares: np.ndarray) -> float:
    """Floor of the cross-entropy where every logit has variance at most 1, whatever the means.

        max_s  sum_y p_y H(q_y) - s sum_j sqrt(p_j (1 - p_j)),    q_y = (1 - s) e_y + s p

    shares: (k,), p, the class shares.  H: entropy.
    Consequence: for k equal shares log(1 + (k - 1) exp(-k / sqrt(k - 1))), which standardized
    one-hot logits attain: 0.278 at k = 10.
    """
    p = np.asarray(shares, dtype=float)
    spread = np.sqrt(p * (1 - p)).sum()

    def minus(s: float) -> float:
        q = (1 - s) * np.eye(len(p)) + s * p
        return s * spread - p @ entr(q).sum(axis=1)

    best: Any = minimize_scalar(minus, bounds=(0, 1), method="bounded", options={"xatol": 1e-12})
    return float(-best.fun)


def gate_rate(gamma: ArrayLike, beta: ArrayLike) -> np.ndarray:
    """How often a ReLU after the normalization is open, if x_hat is standard normal.

        P(y > 0) = Phi(beta / |gamma|)

    gamma = 0 gives a constant: 1 if beta > 0, otherwise 0.  Computed in float64.
    Consequence: unchanged by every gauge, and by scaling gamma and beta together.
    """
    size, shift = np.abs(gamma), np.asarray(beta, dtype=float)
    limit = np.where(shift > 0, np.inf, -np.inf)
    return ndtr(np.divide(shift, size, out=limit, where=size > 0))


def saturation_rate(gamma: ArrayLike, beta: ArrayLike, top: float = 6.0) -> np.ndarray:
    """How often the output is above `top`, if x_hat is standard normal: Phi((beta - top)/|gamma|).

    Consequence: unchanged by every gauge; not by scaling gamma and beta together.
    """
    return gate_rate(gamma, np.asarray(beta) - top)


BRANCH_GAIN = np.pi / (np.pi - 1)
"""Mean square that a gradient gains in a wide branch of unit row variance, ReLU, gamma = 1."""


def branch_share(form: str, block: ArrayLike, gain: float = 1.0) -> np.ndarray:
    """Share of the row variance that the branch of a block l = 1, 2, ... adds at the start.

        stream   g^2 / (1 + g^2 l), g = gamma        v1     1 / (1 + V_{l-1}) at gamma = 1
        v2       p / (1 + p l),  p = 1 - 1/pi

    Units: of the variance after the branch is added, before a ReLU.  block: any shape, whole
    numbers >= 1; V_l is the variance of `reflected_moments`.  gain: g, for "stream" alone.
    Source: de2020 (stream at g = 1); the other forms are derived in the chapter.
    Raises ValueError for another form, and for a block below 1.
    """
    one_of("form", form, ("stream", "v1", "v2"))
    block = np.asarray(block)
    if (block < 1).any():
        raise ValueError(f"block: expected numbers >= 1, got {block.min()}")
    if form == "v1":
        pairs = [reflected_moments(int(n) - 1) for n in block.flat]
        variance = np.array([second - mean**2 for mean, second in pairs])
        return (1 / (1 + variance)).reshape(block.shape)
    added = gain**2 if form == "stream" else 1 - 1 / np.pi
    return added / (1 + added * block)


def reflected_moments(block: int) -> tuple[float, float]:
    """Mean and mean square of x_l of a v1 network at the start, in units of the branch's spread.

        x_l = max(0, x_{l-1} + xi_l),  xi_l independent standard normal, x_{-1} = 0
        E x_l = sum a_k,  E x_l^2 = (l + 1)/2 + sum_{j+k <= l+1} a_j a_k,  a_k = 1/sqrt(2 pi k)

    block: l >= 0, sums over k = 1 .. l + 1.  By Spitzer's identity for the reflected random walk.
    Consequence: x_0 is a rectified standard normal.  Raises ValueError for l < 0.
    """
    if block < 0:
        raise ValueError(f"block: expected a number >= 0, got {block}")
    steps = np.arange(1, block + 2)
    a = 1 / np.sqrt(2 * np.pi * steps)
    within = steps[:, None] + steps <= block + 1
    return float(a.sum()), float((block + 1) / 2 + (np.outer(a, a) * within).sum())


def branch_gains(form: str, blocks: int, gain: float = 1.0) -> np.ndarray:
    """Mean square that a wide branch hands back, over that of the gradient it gets, (L,).

        stream   g^2 C / (1 + g^2 (l - 1)),  C = pi/(pi - 1)        none   g^2, without norm

    gain: g, gamma of the last norm, or the factor on a branch without norm.
    Source: derived in the chapter `residual`.
    Raises ValueError for another form, and for fewer than one block.
    """
    one_of("form", form, ("stream", "none"))
    if blocks < 1:
        raise ValueError(f"blocks: expected a number >= 1, got {blocks}")
    before = np.arange(blocks) if form == "stream" else np.zeros(blocks)
    scale = BRANCH_GAIN if form == "stream" else 1.0
    return scale * gain**2 / (1 + gain**2 * before)


def gradient_growth(form: str, blocks: int, gain: float = 1.0) -> float:
    """E|dx_0|^2 / E|dx_L|^2 at the start of a wide network: product of 1 + `branch_gains`.

    Consequence: about L^1.47 / Gamma(1 + C) for "stream" at gamma = 1, 2^L for "none", 1 at 0.
    """
    return float(np.prod(1 + branch_gains(form, blocks, gain)))


def effective_depth(form: str, blocks: int, gain: float = 1.0) -> float:
    """Mean number of branches that gradient energy has passed: the sum of q / (1 + q).

    q: `branch_gains`.  Consequence: about C ln L for "stream" at gamma = 1, L/2 for "none", 0 at 0.
    """
    gains = branch_gains(form, blocks, gain)
    return float((gains / (1 + gains)).sum())


def _need_rows(m: int, least: int) -> None:
    if m < least:
        raise ValueError(f"expected m >= {least} rows for this law, got {m}")
