"""Each rule at its edges, on numbers made up for it."""

import numpy as np
import pandas as pd
import pytest

from bnlib.chapters.residual import decide
from bnlib.chapters.residual.measure import WAITED, FirstStep, Placement, Waiting
from bnlib.statistics import Interval

SETS = ("digits", "mnist1d")
NOISE = np.linspace(-0.01, 0.01, 10)


def gaps(forward=0.0, backward=0.0):
    return pd.DataFrame({"forward": [0.0, forward], "backward": [0.0, backward], "kink": 0.5})


@pytest.mark.parametrize(
    ("off", "word"),
    [({}, "holds"), ({"forward": 1e-17}, "fails"), ({"backward": 1e-17}, "fails")],
)
def test_the_identity_is_exact_or_it_is_none(off, word):
    assert decide.identity(gaps(**off)).verdict == word


@pytest.mark.parametrize(
    ("step", "moved", "word"),
    [
        (FirstStep(0.0, 1.0, 0.0, {1e-3: np.array([1.0, 1.019])}), 0.1, "fails"),
        (FirstStep(0.0, 1.0, 0.0, {1e-3: np.array([1.0, 1.021])}), 0.1, "partly"),
        (FirstStep(0.0, 0.98, 0.0, {1e-3: np.ones(2)}), 0.1, "partly"),
        (FirstStep(0.0, 0.99, 0.0, {1e-3: np.ones(2)}), 0.1, "fails"),
        (FirstStep(1e-9, 1.0, 0.0, {1e-3: np.ones(2)}), 0.1, "partly"),
        (FirstStep(0.0, 1.0, 0.0, {1e-3: np.ones(2)}), 0.0, "partly"),
        (FirstStep(0.0, 0.0, 0.0, {1e-3: np.zeros(2)}), 0.0, "holds"),
    ],
)
def test_a_block_learns_where_gamma_has_a_gradient_and_the_loss_falls_by_it(step, moved, word):
    assert decide.never_learns(step, moved).verdict == word


@pytest.mark.parametrize(
    ("sgd", "adam", "jump", "word"),
    [
        (1.04, 0.97, 0.5, "holds"),
        (1.04, 0.9, 0.745, "partly"),
        (1.04, 0.9, 0.8, "fails"),
        (1.06, 1.0, 0.744, "fails"),
    ],
)
def test_weights_wait_where_their_way_grows_like_t_squared(sgd, adam, jump, word):
    law = np.array([[t * (t - 1) / 2 for t in WAITED]])
    runs = {
        "SGD": Waiting(np.ones(1), np.ones(1), sgd * law, 0.0),
        "Adam": Waiting(np.ones(1), np.ones(1), adam * law, jump),
    }
    assert decide.weights_wait(runs).verdict == word


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.26, 0.3, "fails"), (0.2, 0.3, "partly"), (0, 0.011, "partly"), (0, 0.009, "holds")],
)
def test_gradients_are_the_same_where_they_hardly_vary_over_channels(low, high, word):
    near = decide.same_gradient(Interval(low, low, high), Interval(1.0, 0.9, 1.1))
    assert near.verdict == word
    assert "(confirmed)" in near.evidence
    wide = decide.same_gradient(Interval(low, low, high), Interval(1.0, 0.8, 1.2))
    assert "(not confirmed)" in wide.evidence
    beside = decide.same_gradient(Interval(low, low, high), Interval(1.1, 1.01, 1.2))
    assert "(not confirmed)" in beside.evidence


@pytest.mark.parametrize(
    ("flip", "zero", "one", "word"),
    [
        (0.0, (500, 500), (10, 12), "holds"),
        (0.0, (500, 700), (10, 12), "fails"),
        (1e-12, (500, 500), (10, 12), "fails"),
        (0.0, (500, 500), (500, 12), "undecided"),
    ],
)
def test_signs_are_coins_where_they_flip_exactly_and_share_a_half(flip, zero, one, word):
    def shares(counts):
        return {d: decide.binomial(n, 1000, 0.99) for d, n in zip(SETS, counts, strict=True)}

    assert decide.sign_coin({"SGD": flip}, shares(zero), shares(one)).verdict == word


def test_an_interval_of_signs_is_wider_at_a_higher_level():
    ends = {level: decide.binomial(460, 1000, level) for level in (0.95, 0.99)}
    assert ends[0.95].high < 0.5 < ends[0.99].high
    assert ends[0.99].estimate == 0.46


def test_zero_may_stand_anywhere_only_if_all_three_open_gently():
    opened, law = np.array([1e-4, 1e-3, 1e-2, 1e-1]), np.array([0.1, 0.9, 1.0, 1.0])
    good = Placement(0.0, opened, law, 1.0, np.zeros(4))
    names = (decide.LAST, decide.UNDER, decide.DEAD)
    places, slopes = dict.fromkeys(names, good), dict.fromkeys(names, 1.09)
    assert decide.zero_anywhere(places, slopes).verdict == "holds"
    assert decide.zero_anywhere(places, slopes | {decide.UNDER: 0.89}).verdict == "fails"
    dead = places | {decide.DEAD: good._replace(gradient=0.0)}
    assert decide.zero_anywhere(dead, slopes).verdict == "fails"
    open_ = places | {decide.LAST: good._replace(start=1e-9)}
    assert decide.zero_anywhere(open_, slopes).verdict == "fails"


def test_shares_hold_in_all_forms_or_in_some():
    own = {"stream": 0.01, "v1": 0.01}
    assert decide.share({"stream": 0.05, "v1": 0.05}, own).verdict == "holds"
    assert decide.share({"stream": 0.05, "v1": 0.06}, own).verdict == "partly"
    assert decide.share({"stream": 0.06, "v1": 0.06}, own).verdict == "fails"
    assert "NOT met" in decide.share({"stream": 0.0, "v1": 0.0}, own | {"v1": 0.11}).evidence


@pytest.mark.parametrize(
    ("slope", "word"), [(0.9, "holds"), (1.05, "holds"), (1.06, "fails"), (0.89, "fails")]
)
def test_a_doubling_has_slope_one(slope, word):
    assert decide.doubles(Interval(slope, 0.0, 2.0)).verdict == word


@pytest.mark.parametrize(
    ("depth", "growth", "word"),
    [
        ([2, 3], 1.4, "holds"),
        ([2, 3.5], 1.4, "partly"),
        ([2, 3], 1.6, "partly"),
        ([3.5, 3.4], 1.0, "fails"),
    ],
)
def test_depth_is_the_laws_within_fifteen_percent(depth, growth, word):
    index = pd.MultiIndex.from_product([["a", "b"], [8]], names=["form", "L"])
    rows = {"depth": depth, "law": [2, 3], "growth": growth, "growth law": 1.0}
    assert decide.shallow(pd.DataFrame(rows, index=index)).verdict == word


def test_the_order_of_depths_is_that_at_the_largest_number_of_blocks():
    index = pd.MultiIndex.from_product([["a", "b"], [4, 8]], names=["form", "L"])
    rows = {"depth": [2, 3, 1, 4], "law": [1, 2, 2, 3], "growth": 1.0, "growth law": 1.0}
    assert decide.shallow(pd.DataFrame(rows, index=index)).verdict == "partly"


def frame(*rows):
    """Cells with estimate, low and high."""
    table = pd.DataFrame(rows, columns=["estimate", "low", "high"], dtype=float)
    return table.set_axis([f"cell {n}" for n in range(len(rows))])


DEEP_CELLS = [f"{name}, stream, 16" for name in SETS]
UP, DOWN, NONE = (1, 0.5, 2), (-1, -2, -0.5), (0, -1, 1)
LESS, OPEN, MORE = (-1, -2, -1e-9), (-1, -2, 0), (1, 1e-9, 2)


@pytest.mark.parametrize(
    ("rule", "frames", "word"),
    [
        (decide.raises_rate, [[UP, UP]], "holds"),
        (decide.raises_rate, [[UP, NONE]], "partly"),
        (decide.raises_rate, [[UP, (0.5, -1, 2)]], "partly"),
        (decide.raises_rate, [[UP, DOWN]], "fails"),
        (decide.raises_rate, [[NONE]], "fails"),
        (decide.improves_all, [[DOWN, DOWN]], "holds"),
        (decide.improves_all, [[DOWN, NONE]], "partly"),
        (decide.improves_all, [[DOWN, UP]], "fails"),
        (decide.improves_all, [[NONE]], "fails"),
        (decide.shallow_first, [[UP, DOWN], [UP, DOWN]], "holds"),
        (decide.shallow_first, [[UP, NONE], [UP, DOWN]], "partly"),
        (decide.shallow_first, [[UP, DOWN], [UP, UP]], "fails"),
        (decide.shallow_first, [[NONE, UP], [UP, NONE]], "undecided"),
        (decide.less_interaction, [[LESS, LESS], [LESS, LESS]], "holds"),
        (decide.less_interaction, [[LESS, LESS], [LESS, OPEN]], "partly"),
        (decide.less_interaction, [[LESS, LESS], [MORE, MORE]], "partly"),
        (decide.less_interaction, [[LESS, OPEN], [LESS, LESS]], "fails"),
        (decide.less_interaction, [[LESS, MORE], [LESS, LESS]], "fails"),
        (decide.less_interaction, [[MORE, MORE], [MORE, MORE]], "fails"),
    ],
)
def test_a_rule_over_cells_turns_where_an_interval_reaches_zero(rule, frames, word):
    assert rule(*(frame(*rows) for rows in frames)).verdict == word


def table(**best):
    """The two deep cells; best, or (best, max_stable), by arm with _ for -, the same in both."""
    rows = {}
    for data in SETS:
        for arm, value in best.items():
            loss, rate = value if isinstance(value, tuple) else (value, 0.0)
            # unequal noise: pairs differ by more than a constant
            shift = NOISE * (1 + len(arm) / 10)
            key = f"{data}, stream, 16", arm.replace("_", "-")
            rows[key] = {"best": loss + shift, "max_stable": rate + 0 * NOISE}
    found = pd.DataFrame.from_dict(rows, orient="index")
    found.index = pd.MultiIndex.from_tuples(rows, names=["cell", "arm"])
    return found


@pytest.mark.parametrize(
    ("zero", "word"), [(-0.5, "holds"), (0.1, "fails"), (0.5, "fails"), (-0.1, "holds")]
)
def test_zero_is_special_where_it_beats_a_small_gamma(zero, word):
    found = table(zero=zero, root=0.0)
    assert decide.zero_is_special(found, DEEP_CELLS).verdict == word


@pytest.mark.parametrize(("second", "word"), [(0.0, "partly"), (0.5, "partly"), (-0.01, "holds")])
def test_zero_is_special_in_more_than_half_of_the_cells(second, word):
    found = table(zero=-0.5, root=0.0)
    found.at[(DEEP_CELLS[1], "zero"), "best"] = second + NOISE * 1.1
    assert decide.zero_is_special(found, DEEP_CELLS).verdict == word


def test_worse_by_any_margin_or_equivalent_within_a_quarter_is_not_special():
    found = table(zero=0.0, root=0.0)
    wide = np.where(np.arange(10) % 2, 0.55, -0.55)  # 90 % interval: about 0.34 to each side
    found.at[(DEEP_CELLS[0], "zero"), "best"] = wide
    assert decide.zero_is_special(found, DEEP_CELLS).verdict == "partly"
    found.at[(DEEP_CELLS[0], "zero"), "best"] = 0.4 * wide  # about 0.13
    assert decide.zero_is_special(found, DEEP_CELLS).verdict == "fails"


@pytest.mark.parametrize(
    ("rule", "arms", "word"),
    [
        (decide.like_rezero, {"scalar": 0.1, "skip_init": 0.1}, "holds"),
        (decide.like_rezero, {"scalar": 0.1, "skip_init": 0.5}, "partly"),
        (decide.like_rezero, {"scalar": (0.1, -1.0), "skip_init": (0.1, 1.0)}, "holds"),
        (decide.like_rezero, {"scalar": 0.1, "skip_init": (0.1, -2.0)}, "partly"),
        (decide.like_rezero, {"scalar": 0.1, "skip_init": (0.1, 2.0)}, "partly"),
        (decide.like_rezero, {"scalar": 0.5, "skip_init": 0.1}, "fails"),
        (decide.norm_free, {"fixup": (-0.1, -1.0), "skip_init": -0.1}, "holds"),
        (decide.norm_free, {"fixup": (-0.1, -1.1), "skip_init": -0.1}, "partly"),
        (decide.norm_free, {"fixup": (0.5, 0.0), "skip_init": -0.1}, "fails"),
        (decide.norm_free, {"fixup": 0.0, "skip_init": -0.1}, "holds"),
        (decide.norm_free, {"fixup": (0.0, -3.0), "skip_init": (0.0, -3.0)}, "partly"),
    ],
)
def test_arms_are_compared_in_loss_and_within_an_octave_of_the_rate(rule, arms, word):
    assert rule(table(zero=0.0, one=0.0, **arms)).verdict == word


def test_one_factor_is_like_zero_gamma_on_both_data_sets_or_not_at_all():
    found = table(zero=0.0, scalar=0.1, skip_init=0.1)
    found.at[(DEEP_CELLS[1], "scalar"), "best"] = 0.5 + NOISE * 1.6
    assert decide.like_rezero(found).verdict == "fails"


def test_one_data_set_without_loss_is_partly_free_of_norm():
    found = table(one=0.0, fixup=-0.1, skip_init=-0.1)
    found.at[(DEEP_CELLS[1], "fixup"), "best"] = 0.5 + NOISE * 1.5
    assert decide.norm_free(found).verdict == "partly"


def by_set(*ends):
    return {d: Interval(sum(e) / 2, *e) for d, e in zip(SETS, ends, strict=True)}


@pytest.mark.parametrize(
    ("rule", "ends", "word"),
    [
        (decide.stays_near, [(0, 0.09), (0, 0.05)], "holds"),
        (decide.stays_near, [(0, 0.09), (0, 0.1)], "partly"),
        (decide.stays_near, [(0, 0.09), (0.2, 0.4)], "partly"),
        (decide.stays_near, [(0, 0.09), (0.1, 0.2)], "partly"),
        (decide.stays_near, [(0, 0.09), (0.4, 0.6)], "fails"),
        (decide.start_forgotten, [(0.8, 1.25), (0.9, 1.1)], "holds"),
        (decide.start_forgotten, [(0.5, 0.7), (0.6, 0.79)], "fails"),
        (decide.start_forgotten, [(0.5, 0.7), (0.9, 1.1)], "partly"),
        (decide.start_forgotten, [(1.3, 1.7), (1.3, 1.7)], "partly"),
        (decide.start_forgotten, [(0.7, 0.9), (0.7, 0.9)], "partly"),
    ],
)
def test_the_worse_of_two_data_sets_decides_how_large_branches_are(rule, ends, word):
    assert rule(by_set(*ends)).verdict == word


@pytest.mark.parametrize(
    ("least", "most", "word"),
    [
        ((0.1, 0.4), (0.1, 0.4), "holds"),
        ((0.8, 1.1), (0.1, 0.4), "partly"),
        ((0.8, 1.1), (0.4, 0.6), "fails"),
    ],
)
def test_decay_closes_a_block_where_it_halves_its_branch(least, most, word):
    ratio = {5e-4: by_set(least, (0.1, 0.4)), 5e-2: by_set(most, (0.1, 0.4))}
    assert decide.decay_closes(ratio).verdict == word


@pytest.mark.parametrize(
    ("near", "word"), [(8, "holds"), (7, "partly"), (5, "partly"), (4, "fails")]
)
def test_shipped_shares_follow_the_start_in_eight_of_ten_blocks(near, word):
    k = np.arange(1, 11)
    share = np.where(k <= near, 0.5, 0.49) / (k + 1)
    nets = {"lite0": pd.DataFrame({"k": k, "share": share, "nu": 0.6})}
    claim = decide.shipped_share(nets)
    assert claim.verdict == word
    assert "in 10 of 10" in claim.evidence
    far = {"lite1": nets["lite0"].assign(share=0.5 / (k + 1))}
    assert decide.shipped_share(nets | far).verdict == word  # the worst network decides
    above = {"lite0": nets["lite0"].assign(share=2.1 / (k + 1))}
    assert decide.shipped_share(above).verdict == "fails"


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        ((500, 490), "holds"),
        ((500, 300), "partly"),
        ((49, 10), "fails"),
        ((50, 10), "partly"),
        ((49, 60), "partly"),
    ],
)
def test_signs_of_shipped_networks_are_coins_or_few_are_negative(counts, word):
    nets = {f"lite{n}": decide.binomial(c, 1000, 0.95) for n, c in enumerate(counts)}
    assert decide.shipped_zero(nets).verdict == word


EQUAL = {"one": 1.0, "zero": 0.5, "root": 0.5, "fixed_root": 0.5, "warm_up": 0.5}


@pytest.mark.parametrize(
    ("off", "wrong"),
    [
        ({}, None),
        ({"fixed_root": 0.75}, "start"),
        ({"fixed_root": 0.71}, None),  # within log 1.25 = 0.223
        ({"zero_weight": 0.75}, "weights"),
        ({"warm_up": 0.25}, "warm-up"),
    ],
)
def test_a_cure_is_as_predicted_within_a_factor_of_a_quarter(off, wrong):
    arms, same = table(**(EQUAL | {"zero_weight": 1.0} | off)), table(one=1.0, zero=0.5)
    rows = decide.foretold(arms, same, same)["as predicted"].groupby("prediction").all()
    assert list(rows[~rows].index) == ([] if wrong is None else [wrong])


@pytest.mark.parametrize(
    ("before", "zero", "same"),
    [(0.5, 0.9, True), (0.5, 1.0, False), (0.5, 1.1, False), (1.0, 0.5, False), (1.5, 1.1, True)],
)
def test_momentum_and_twice_the_steps_must_keep_every_sign(before, zero, same):
    first, second = decide.DEEP_STREAMS
    arms, as_before = table(**EQUAL, zero_weight=1.0), table(one=1.0, zero=0.5)
    as_before = pd.concat([as_before.loc[[first]], table(one=1.0, zero=before).loc[[second]]])
    arms.loc[[(second, "zero")]] = as_before.loc[[(second, "zero")]]
    one_off = pd.concat([as_before.loc[[first]], table(one=1.0, zero=zero).loc[[second]]])
    for name, tables in (("momentum", (one_off, as_before)), ("twice", (as_before, one_off))):
        rows = decide.foretold(arms, *tables)["as predicted"].groupby("prediction").all()
        assert bool(rows[name]) == same
        assert rows.drop(name).all()
